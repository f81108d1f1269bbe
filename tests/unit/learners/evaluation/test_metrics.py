"""Metrics against scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss, roc_auc_score

from learners.evaluation.metrics import Scores
from learners.tasks.binary import Binary


def test_auc_and_log_loss_are_those_of_scikit_learn_and_add_up() -> None:
    rng = np.random.default_rng(0)
    labels = (rng.random(5_000) < 0.2).astype(float)
    scores = rng.normal(labels - 1.5, 1.0)
    parts = [Scores(), Scores()]
    for part, chosen in zip(parts, (slice(0, 1_000), slice(1_000, None)), strict=True):
        part.add(Binary(), torch.tensor(scores[chosen, None]), torch.tensor(labels[chosen]))
    total = parts[0] + parts[1]
    assert total.count == 5_000
    assert total.auc == pytest.approx(roc_auc_score(labels, scores), abs=5e-4)
    assert total.loss == pytest.approx(log_loss(labels, 1 / (1 + np.exp(-scores))), abs=1e-6)


def test_without_both_labels_there_is_no_auc() -> None:
    scores = Scores()
    scores.add(Binary(), torch.zeros(3, 1), torch.zeros(3))
    assert np.isnan(scores.auc)
    assert np.isnan(Scores().loss)
