"""Metrics against slow loops written from the definitions, and their refusals."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.optimize import linear_sum_assignment

from eval import metrics
from secure_fl.errors import InputError

LABELS = st.lists(st.integers(0, 1), min_size=1, max_size=40)
SCORES = hnp.arrays(np.float64, st.integers(1, 40), elements=st.floats(-5, 5, width=16))


@st.composite
def paired_labels(draw: st.DrawFn, classes: int = 3, columns: int = 2) -> list[np.ndarray]:
    size = draw(st.integers(1, 40))
    column = hnp.arrays(np.int64, size, elements=st.integers(0, classes - 1))
    return [draw(column) for _ in range(columns)]


def counts(truth: np.ndarray, predicted: np.ndarray, positive: int) -> tuple[int, int, int]:
    """True positives, false positives, false negatives, one case at a time."""
    tp = fp = fn = 0
    for t, p in zip(truth, predicted, strict=True):
        tp += t == positive and p == positive
        fp += t != positive and p == positive
        fn += t == positive and p != positive
    return tp, fp, fn


@given(paired_labels(), st.integers(0, 2))
def test_threshold_metrics_match_counts(pair: list[np.ndarray], positive: int) -> None:
    truth, predicted = pair
    tp, fp, fn = counts(truth, predicted, positive)
    hits = sum(int(t == p) for t, p in zip(truth, predicted, strict=True))
    assert metrics.accuracy(truth, predicted) == pytest.approx(hits / len(truth))
    p = tp / (tp + fp) if tp + fp else 0.0
    r = tp / (tp + fn) if tp + fn else 0.0
    assert metrics.precision(truth, predicted, positive) == pytest.approx(p)
    assert metrics.recall(truth, predicted, positive) == pytest.approx(r)
    assert metrics.f1(truth, predicted, positive) == pytest.approx(
        2 * p * r / (p + r) if p + r else 0.0
    )


@given(LABELS.filter(lambda y: 0 < sum(y) < len(y)), st.data())
def test_auc_is_the_share_of_ordered_pairs(labels: list[int], data: st.DataObject) -> None:
    scores = data.draw(
        st.lists(st.integers(-3, 3), min_size=len(labels), max_size=len(labels)).map(
            lambda values: [float(v) for v in values]
        )
    )
    won = pairs = 0.0
    for label_p, score_p in zip(labels, scores, strict=True):
        for label_n, score_n in zip(labels, scores, strict=True):
            if label_p == 1 and label_n == 0:
                pairs += 1
                won += 1.0 if score_p > score_n else 0.5 if score_p == score_n else 0.0
    assert metrics.auc(labels, scores) == pytest.approx(won / pairs)


@given(SCORES, st.floats(0, 1))
@settings(max_examples=300)
def test_threshold_gives_the_nearest_possible_share(scores: np.ndarray, prevalence: float) -> None:
    threshold = metrics.prevalence_threshold(scores, prevalence)
    got = float(np.mean(scores > threshold))
    possible = {0.0} | {float(np.mean(scores >= s)) for s in scores}
    best = min(abs(share - prevalence) for share in possible)
    assert abs(got - prevalence) == pytest.approx(best, abs=1e-9)
    assert metrics.predict(scores, threshold).mean() == got


def test_threshold_lies_midway_and_prefers_fewer_positives() -> None:
    assert metrics.prevalence_threshold([0.0, 1.0, 2.0, 4.0], 0.25) == 3.0
    assert metrics.prevalence_threshold([0.0, 1.0], 0.25) == 1.0  # 0 or 1 positive: equally near
    assert metrics.predict([0.0, 1.0], 1.0).tolist() == [0, 0]


def test_threshold_separates_neighbouring_floats() -> None:
    low = 1.0
    high = float(np.nextafter(low, 2.0))
    threshold = metrics.prevalence_threshold([low, high], 0.5)
    assert metrics.predict([low, high], threshold).tolist() == [0, 1]


@given(paired_labels(classes=3), st.integers(0, 2), st.integers(0, 2))
def test_targeted_success_matches_loops(pair: list[np.ndarray], source: int, target: int) -> None:
    truth, predicted = pair
    at_source = [int(p == target) for t, p in zip(truth, predicted, strict=True) if t == source]
    elsewhere = [int(p == target) for t, p in zip(truth, predicted, strict=True) if t != target]
    if source == target or not at_source:
        with pytest.raises(InputError):
            metrics.label_flip_success(truth, predicted, source, target)
    else:
        got = metrics.label_flip_success(truth, predicted, source, target)
        assert got == pytest.approx(sum(at_source) / len(at_source))
    if elsewhere:
        got = metrics.backdoor_success(truth, predicted, target)
        assert got == pytest.approx(sum(elsewhere) / len(elsewhere))
    else:
        with pytest.raises(InputError, match="y_true"):
            metrics.backdoor_success(truth, predicted, target)


@given(paired_labels(columns=3))
def test_untargeted_success_matches_a_loop(triple: list[np.ndarray]) -> None:
    truth, clean, attacked = triple
    lost = gained = 0
    for t, c, a in zip(truth, clean, attacked, strict=True):
        lost += c == t and a != t
        gained += c != t and a == t
    got = metrics.untargeted_success(truth, clean, attacked)
    assert got == pytest.approx(lost / len(truth))
    # What the attack breaks, less what it happens to mend, is the degradation of section 4.2.
    degradation = metrics.robustness_degradation(
        metrics.accuracy(truth, clean), metrics.accuracy(truth, attacked)
    )
    assert got - gained / len(truth) == pytest.approx(degradation)


def test_attack_success_reports_raw_base_and_excess() -> None:
    truth = [1, 1, 1, 1, 0, 0]
    clean = [1, 1, 1, 0, 0, 1]
    attacked = [0, 0, 0, 0, 0, 1]
    flipped = metrics.attack_success(
        "label_flip", truth, attacked, clean, source_class=1, target_class=0
    )
    assert flipped == (1.0, 0.25, 0.75)
    assert metrics.attack_success("backdoor", truth, attacked, clean, target_class=1) == (
        0.5,
        0.5,
        0.0,
    )
    untargeted = metrics.attack_success("untargeted", truth, attacked, clean)
    assert untargeted == pytest.approx((0.5, 0.0, 0.5))
    assert metrics.attack_success("none", truth, attacked, clean) is None


@given(
    hnp.arrays(np.float64, st.tuples(st.integers(1, 20), st.just(3)), elements=st.floats(-30, 30)),
    st.data(),
)
def test_log_losses_match_loops(logits: np.ndarray, data: st.DataObject) -> None:
    size = len(logits)
    truth = data.draw(hnp.arrays(np.int64, size, elements=st.integers(0, 2)))
    per_case = []
    for row, label in zip(logits, truth, strict=True):
        top = max(row)
        total = sum(math.exp(v - top) for v in row)
        per_case.append(math.log(total) + top - row[label])
    assert metrics.log_loss(truth, logits) == pytest.approx(sum(per_case) / size, abs=1e-9)
    by_class: dict[int, list[float]] = {}
    for loss, label in zip(per_case, truth, strict=True):
        by_class.setdefault(int(label), []).append(loss)
    expected = sum(sum(v) / len(v) for v in by_class.values()) / len(by_class)
    assert metrics.balanced_log_loss(truth, logits) == pytest.approx(expected, abs=1e-9)


def test_balanced_loss_exposes_a_model_that_gives_up_on_the_rare_class() -> None:
    truth = [0] * 99 + [1]
    always_zero = [[4.0, -4.0]] * 100
    assert metrics.log_loss(truth, always_zero) < 0.1
    assert metrics.balanced_log_loss(truth, always_zero) > 3.9


def test_log_odds_keep_the_order_of_saturated_cases() -> None:
    logits = np.array([[0.0, 900.0], [0.0, 800.0]], dtype=np.float32)
    assert metrics.log_odds(logits).tolist() == [900.0, 800.0]


def test_tensors_are_read_and_left_alone() -> None:
    truth = torch.tensor([0, 1, 1])
    logits = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0]])
    before = logits.clone()
    scores = metrics.log_odds(logits)
    quality = metrics.classification(truth, scores)
    assert quality == pytest.approx((2 / 3, 1.0, 0.5, 2 / 3, 0.5))
    assert torch.equal(logits, before)


def test_model_drift_is_relative() -> None:
    reference = torch.tensor([3.0, 4.0])
    assert metrics.model_drift(reference, reference) == 0.0
    assert metrics.model_drift(torch.tensor([3.0, 9.0]), reference) == pytest.approx(1.0)
    with pytest.raises(InputError, match="zero vector"):
        metrics.model_drift([1.0], [0.0])


def test_drift_alarm_marks_the_jump_alone() -> None:
    steady = [1.0, 0.9, 0.8, 0.75, 0.7]
    assert metrics.drift_alarms(steady) == [False] * 5
    assert metrics.drift_alarms([*steady, 5.0]) == [False] * 5 + [True]
    assert metrics.drift_alarms([1.0, 50.0]) == [False, False]
    assert metrics.drift_alarms([]) == []


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: metrics.accuracy([], []), "y_true"),
        (lambda: metrics.accuracy([0, 1], [0]), "y_pred"),
        (lambda: metrics.accuracy([0.5, 1.0], [0, 1]), "y_true"),
        (lambda: metrics.auc([1, 1], [0.2, 0.4]), "both classes"),
        (lambda: metrics.auc([0, 1], [0.2]), "scores"),
        (lambda: metrics.predict([float("nan")]), "scores"),
        (lambda: metrics.prevalence_threshold([0.1], 1.2), "prevalence"),
        (lambda: metrics.log_odds([[1.0, 2.0, 3.0]]), "logits"),
        (lambda: metrics.log_loss([0, 2], [[0.0, 1.0], [0.0, 1.0]]), "y_true"),
        (lambda: metrics.log_loss([0], [[0.0, 1.0], [0.0, 1.0]]), "logits"),
        (lambda: metrics.attack_success("theft", [0], [0], [0]), "label_flip"),
        (lambda: metrics.attack_success("backdoor", [0], [0], [0]), "target_class"),
        (lambda: metrics.attack_success("label_flip", [0], [0], [0], target_class=1), "source"),
        (lambda: metrics.robustness_degradation(1.5, 0.5), "clean_accuracy"),
        (lambda: metrics.model_drift([1.0, 2.0], [1.0]), "parameters"),
        (lambda: metrics.drift_alarms([1.0], limit=0.0), "limit"),
    ],
)
def test_bad_input_is_refused_by_name(call: object, named: str) -> None:
    with pytest.raises(InputError, match=named):
        call()  # type: ignore[operator]


def test_two_classes_are_calibrated_by_the_threshold() -> None:
    rng = np.random.default_rng(0)
    logits, truth = rng.normal(size=(50, 2)), rng.integers(0, 2, 50)
    calibration = metrics.calibrate(logits, truth)
    scores = metrics.log_odds(logits)
    assert calibration.threshold == metrics.prevalence_threshold(scores, truth.mean())
    found = metrics.quality(truth, logits, calibration)
    assert found == metrics.classification(truth, scores, calibration.threshold)
    each = metrics.by_class(truth, logits, calibration)
    assert (each[1].precision, each[1].f1, each[1].auc) == (found[1], found[3], found[4])


@given(st.integers(3, 6), st.integers(0, 10_000))
@settings(max_examples=30)
def test_many_classes_are_named_as_often_as_they_occur(classes: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.permutation(np.arange(120) % classes)
    logits = rng.normal(size=(120, classes)) + 3 * rng.normal(size=classes)
    logits[np.arange(120), truth] += 1
    predicted = metrics.calibrate(logits, truth).predict(logits)
    named, there = (np.bincount(v, minlength=classes) for v in (predicted, truth))
    assert np.abs(named - there).max() <= 1
    best = metrics.calibrate(logits, truth).offsets
    assert best[0] == 0.0
    # The same as the assignment of rows to classes of these sizes with the largest sum.
    columns = np.repeat(np.arange(classes), there)
    _, chosen = linear_sum_assignment(-logits[:, columns])
    assert np.mean(columns[chosen] == predicted) > 0.9


def test_a_class_that_calibration_rows_lack_is_not_named_there() -> None:
    logits = np.random.default_rng(0).normal(size=(40, 3))
    truth = np.arange(40) % 2
    assert set(metrics.calibrate(logits, truth).predict(logits)) == {0, 1}


def test_a_backdoor_for_one_class_is_measured_on_it() -> None:
    truth, predicted = [0, 1, 2, 2], [1, 1, 1, 0]
    assert metrics.backdoor_success(truth, predicted, 1) == pytest.approx(2 / 3)
    assert metrics.backdoor_success(truth, predicted, 1, source_class=2) == 0.5
