"""Metrics against scikit-learn; those of a task are its own, and add up."""

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, log_loss, mean_absolute_error, roc_auc_score

from learners.evaluation.scores import Scores
from learners.tasks.binary import Binary
from learners.tasks.classes import Classes
from learners.tasks.regression import Regression
from learners.tasks.task import Task

RNG = np.random.default_rng(0)


def measured(task: Task, outputs: np.ndarray, labels: np.ndarray) -> Scores:
    """Return the scores of all rows, counted in two parts."""
    parts = [Scores(task.metrics()), Scores(task.metrics())]
    for part, chosen in zip(parts, (slice(0, 1_000), slice(1_000, None)), strict=True):
        part.add(torch.tensor(outputs[chosen]), torch.tensor(labels[chosen]))
    total = parts[0] + parts[1]
    assert total.count == len(labels)
    assert total.loss == next(iter(total.values.values()))
    return total


def test_a_binary_task_has_log_loss_and_auc() -> None:
    labels = (RNG.random(5_000) < 0.2).astype(float)
    logits = RNG.normal(labels - 1.5, 1.0)
    assert measured(Binary(), logits[:, None], labels).values == {
        "log loss": pytest.approx(log_loss(labels, 1 / (1 + np.exp(-logits))), abs=1e-6),
        "AUC": pytest.approx(roc_auc_score(labels, logits), abs=5e-4),
    }


def test_classes_have_log_loss_and_accuracy() -> None:
    labels = RNG.integers(0, 3, 2_000).astype(float)
    logits = RNG.normal(np.eye(3)[labels.astype(int)], 1.0)
    chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert measured(Classes(3), logits, labels).values == {
        "log loss": pytest.approx(log_loss(labels, chances), abs=1e-6),
        "accuracy": pytest.approx(accuracy_score(labels, logits.argmax(1))),
    }


def test_a_regression_has_its_own_loss_and_the_mean_absolute_error_but_no_auc() -> None:
    labels = RNG.normal(3.0, 5.0, 2_000)
    outputs = labels + RNG.normal(0.0, 2.0, 2_000)
    off = np.abs(outputs - labels)
    scores = measured(Regression(delta=1.5), outputs[:, None], labels)
    assert scores.values == {
        "Huber loss": pytest.approx(np.where(off <= 1.5, off**2 / 2, 1.5 * (off - 0.75)).mean()),
        "mean absolute error": pytest.approx(mean_absolute_error(labels, outputs)),
    }
    assert [metric.unit for metric in scores.metrics] == ["spread²", "label unit"]


def test_what_cannot_be_measured_yet_is_not_a_number() -> None:
    scores = Scores(Binary().metrics())
    scores.add(torch.zeros(3, 1), torch.zeros(3))
    assert np.isnan(scores.values["AUC"])
    assert np.isnan(Scores(Binary().metrics()).loss)
