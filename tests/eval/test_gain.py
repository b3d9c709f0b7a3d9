"""The federated gain retained, beside a slow loop over resamples with scikit-learn's AUC."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from eval.metrics import gain_retained, quality, resample, resampled_auc
from eval.metrics.calibration import Calibration
from eval.metrics.gain import LITTLE, UNSURE, ResampledAUC
from secure_fl.errors import InputError

RESAMPLES = 40


def cases(classes: int, seed: int = 0, size: int = 90) -> tuple[np.ndarray, list[np.ndarray]]:
    """Labels, and logits of a poor, a middling and a good model; rounded, so that scores tie."""
    rng = np.random.default_rng(seed)
    y = np.arange(size) % classes
    truth = np.eye(classes)[y]
    models = [strength * truth + rng.normal(size=truth.shape) for strength in (0.3, 0.8, 1.5)]
    return y, [model.round(1) for model in models]


def slow_auc(y: np.ndarray, logits: np.ndarray) -> float:
    if logits.shape[1] == 2:
        return float(roc_auc_score(y, logits[:, 1] - logits[:, 0]))
    found = []
    for c in range(logits.shape[1]):
        others = np.log(np.exp(np.delete(logits, c, axis=1)).sum(axis=1))
        found.append(roc_auc_score(y == c, logits[:, c] - others))
    return float(np.mean(found))


@pytest.mark.parametrize("classes", [2, 4])
def test_every_resample_has_scikit_learns_auc_on_the_same_cases(classes: int) -> None:
    y, models = cases(classes)
    counts = resample(y, RESAMPLES, np.random.default_rng(1))
    for logits in models:
        found = resampled_auc(y, logits, counts)
        assert found.value == pytest.approx(slow_auc(y, logits), abs=1e-12)
        offsets = Calibration((0.0,) * classes)
        assert found.value == pytest.approx(quality(y, logits, offsets).auc, abs=1e-12)
        again = [np.repeat(np.arange(len(y)), row) for row in counts]
        slow = [slow_auc(y[drawn], logits[drawn]) for drawn in again]
        np.testing.assert_allclose(found.resampled, slow, atol=1e-12)


def test_cases_with_several_labels_are_measured_label_by_label() -> None:
    """Also in resamples in which nobody has the rare one."""
    rng = np.random.default_rng(5)
    y = (rng.random((60, 3)) < (0.5, 0.3, 0.03)).astype(np.int64)
    y[0] = (0, 1, 1)
    logits = (y + rng.normal(size=y.shape)).round(1)
    counts = resample(y, RESAMPLES, rng)
    assert (counts.sum(axis=1) == 60).all()
    slow = []
    for row in counts:
        drawn = np.repeat(np.arange(60), row)
        there = [c for c in range(3) if 0 < y[drawn, c].sum() < 60]
        slow.append(np.mean([roc_auc_score(y[drawn, c], logits[drawn, c]) for c in there]))
        assert len(there) >= 2
    assert (counts @ y[:, 2] == 0).any()
    found = resampled_auc(y, logits, counts)
    np.testing.assert_allclose(found.resampled, slow, atol=1e-12)
    assert found.value == pytest.approx(roc_auc_score(y, logits, average="macro"))
    with pytest.raises(InputError, match="y_true must be of each label"):
        resampled_auc(y * (0, 1, 1), logits, counts)


def test_the_share_and_its_interval_are_those_of_a_slow_loop() -> None:
    y, models = cases(2, size=300)
    counts = resample(y, 200, np.random.default_rng(2))
    root, defended, clean = (resampled_auc(y, each, counts) for each in models)
    found = gain_retained(defended, root, clean, confidence=0.9)
    kept = []
    for row in counts:
        drawn = np.repeat(np.arange(len(y)), row)
        r, d, c = (slow_auc(y[drawn], each[drawn]) for each in models)
        kept.append((d - r) / (c - r))
    kept.sort()
    r, d, c = (slow_auc(y, each) for each in models)
    assert found.value == pytest.approx((d - r) / (c - r))
    assert found.low == pytest.approx(kept[9])  # 5 % of 200 lie at or below it
    assert found.high == pytest.approx(kept[189])
    assert found.untold is None
    assert gain_retained(clean, root, clean)[:3] == (1.0, 1.0, 1.0)
    assert gain_retained(root, root, clean)[:3] == (0.0, 0.0, 0.0)


def test_resamples_keep_each_classs_number_and_follow_the_generator() -> None:
    y = np.array([0] * 30 + [1] * 5 + [2])
    one, again, other = (resample(y, 20, np.random.default_rng(seed)) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()
    for label, size in ((0, 30), (1, 5), (2, 1)):
        assert (one[:, y == label].sum(axis=1) == size).all()
    assert one[:, :30].mean(axis=0).std() > 0  # cases are drawn, not kept


def made(value: float, resampled: list[float]) -> ResampledAUC:
    return ResampledAUC(value, np.array(resampled))


def test_a_small_gain_of_fedavg_tells_nothing_and_an_unsure_one_no_interval() -> None:
    root, defended = made(0.80, [0.80] * 40), made(0.81, [0.81] * 40)
    assert gain_retained(defended, root, made(0.809, [0.81] * 40)) == (None, None, None, LITTLE)
    for lost, sure in ((0, True), (1, True), (2, False), (40, False)):
        clean = made(0.82, [0.79] * lost + [0.82] * (40 - lost))
        found = gain_retained(defended, root, clean, confidence=0.9)
        assert found.value == pytest.approx(0.5)
        assert (found.low is not None, found.high is not None) == (sure, sure), lost
        assert found.untold == (None if sure else UNSURE)


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: resample([0, 1], 0, np.random.default_rng(0)), "resamples"),
        (lambda: resampled_auc([0, 1], [[0, 1]], np.ones((1, 2))), "logits"),
        (lambda: resampled_auc([0, 1], [[0, 1], [1, 0]], np.ones((1, 3))), "counts"),
        (lambda: resampled_auc([0, 0], [[0, 1], [1, 0]], np.ones((1, 2))), "y_true"),
        (lambda: gain_retained(*[made(0.5, [0.5])] * 3, confidence=1.0), "confidence"),
        (lambda: gain_retained(*[made(0.5, [0.5])] * 2, made(0.6, [0.6] * 2)), "resamples"),
    ],
)
def test_bad_input_is_refused_by_name(call: Callable[[], object], named: str) -> None:
    with pytest.raises(InputError, match=f"{named} must be"):
        call()
