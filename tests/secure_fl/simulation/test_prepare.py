"""A federation follows from the settings and the seed; validators measure as scikit-learn does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score, log_loss

from secure_fl.errors import ConfigError
from secure_fl.federation import Federation
from secure_fl.server.validation import Verdict, medians, validate
from secure_fl.simulation.prepare import prepare
from tests.support import tiny_job


@pytest.fixture(scope="module")
def federation() -> Federation:
    return prepare(tiny_job.config())


def test_the_seed_decides_everything(federation: Federation) -> None:
    again, other = prepare(tiny_job.config()), prepare(tiny_job.config("seed=1"))
    assert torch.equal(federation.initial, again.initial)
    for one, two in zip(federation.data.hospitals, again.data.hospitals, strict=True):
        assert torch.equal(one.x, two.x)
        assert torch.equal(one.y, two.y)
    assert not torch.equal(federation.initial, other.initial)
    assert not torch.equal(federation.data.test.x[:5], other.data.test.x[:5])


def test_balance_evens_out_classes_within_each_hospital(federation: Federation) -> None:
    plain = prepare(tiny_job.config("data.balance=false"))
    for even, raw in zip(federation.data.hospitals, plain.data.hospitals, strict=True):
        counts = torch.bincount(even.y, minlength=2)
        present = torch.bincount(raw.y, minlength=2) > 0
        assert len(set(counts[present].tolist())) == 1
        assert len(even) >= len(raw)
    assert torch.equal(federation.data.root.x, plain.data.root.x)
    assert torch.equal(federation.data.test.y, plain.data.test.y)


def test_a_sample_keeps_whole_patients() -> None:
    small = prepare(tiny_job.config("data=lidc_nodules", "model.params.hidden=[4]"))
    sizes = [len(s) for s in (small.data.root, small.data.holdout, small.data.test)]
    raw = prepare(tiny_job.config("data=lidc_nodules", "data.balance=false"))
    total = sum(sizes) + sum(len(split) for split in raw.data.hospitals)
    assert 1200 <= total < 1260  # the last patient drawn may have a few rows more


def test_a_model_that_does_not_fit_is_refused() -> None:
    config = tiny_job.config()
    for params, message in (
        ({"hiden": [3]}, "one of hidden"),
        ({"hidden": 3}, "hidden must be widths >= 1, as a list; got 3"),
    ):
        wrong = replace(config, model=replace(config.model, params=params))
        with pytest.raises(ConfigError, match=f"model 'mlp' with params .*{message}"):
            prepare(wrong)


def test_validators_measure_as_scikit_learn_does(federation: Federation) -> None:
    verdicts = validate(federation, federation.initial)
    assert len(verdicts) == 3
    for verdict, split in zip(verdicts, federation.data.validators, strict=True):
        logits = federation.logits(federation.initial, split.x)
        predicted, truth = logits.argmax(1).numpy(), split.y.numpy()
        assert verdict.accuracy == pytest.approx(accuracy_score(truth, predicted), abs=1e-12)
        assert verdict.f1 == pytest.approx(f1_score(truth, predicted, zero_division=0), abs=1e-12)
        probabilities = logits.double().softmax(1).numpy()
        assert verdict.loss == pytest.approx(log_loss(truth, probabilities, labels=[0, 1]))


def test_a_model_of_nan_measures_as_worthless(federation: Federation) -> None:
    verdicts = validate(federation, torch.full_like(federation.initial, torch.nan))
    assert all(np.isnan(verdict.loss) for verdict in verdicts)
    assert all(0 <= verdict.accuracy <= 1 for verdict in verdicts)


def test_medians_are_taken_measure_by_measure() -> None:
    rows = [Verdict(0.1, 9.0, 0.5), Verdict(0.3, 1.0, 0.1), Verdict(0.2, 5.0, 0.9)]
    assert medians(rows) == Verdict(0.2, 5.0, 0.5)
    assert medians(rows[:2]) == Verdict(0.2, 5.0, 0.3)
