"""Metrics of a run: plain functions of labels, scores and predictions.

Every function takes array-likes (lists, NumPy arrays, CPU tensors), reads them without changing
them, and returns Python floats. Shapes: m test cases, C classes, L labels, d parameters. An empty
or mismatched input raises `secure_fl.errors.InputError`.
"""

from eval.metrics.calibration import (
    Calibration,
    calibrate,
    log_odds,
    predict,
    prevalence_threshold,
)
from eval.metrics.drift import drift_alarms, model_drift
from eval.metrics.gain import (
    GainRetained,
    ResampledAUC,
    gain_retained,
    resample,
    resampled_auc,
)
from eval.metrics.multilabel import (
    LabelThresholds,
    by_label,
    calibrate_labels,
    label_quality,
)
from eval.metrics.quality import (
    Classification,
    ClassQuality,
    accuracy,
    auc,
    balanced_log_loss,
    by_class,
    classification,
    f1,
    log_loss,
    one_against_rest,
    precision,
    quality,
    recall,
)
from eval.metrics.success import (
    AttackSuccess,
    attack_success,
    backdoor_success,
    label_flip_success,
    robustness_degradation,
    untargeted_success,
)

__all__ = [
    "AttackSuccess",
    "Calibration",
    "ClassQuality",
    "Classification",
    "GainRetained",
    "LabelThresholds",
    "ResampledAUC",
    "accuracy",
    "attack_success",
    "auc",
    "backdoor_success",
    "balanced_log_loss",
    "by_class",
    "by_label",
    "calibrate",
    "calibrate_labels",
    "classification",
    "drift_alarms",
    "f1",
    "gain_retained",
    "label_flip_success",
    "label_quality",
    "log_loss",
    "log_odds",
    "model_drift",
    "one_against_rest",
    "precision",
    "predict",
    "prevalence_threshold",
    "quality",
    "recall",
    "resample",
    "resampled_auc",
    "robustness_degradation",
    "untargeted_success",
]
