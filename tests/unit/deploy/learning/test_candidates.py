"""A candidate is measured, or refused with a reason, and its record can be read whatever its figures are."""

import re
from dataclasses import replace

import pytest
import torch

from compressors.data import Data
from compressors.recipe import Recipe
from deploy.learning import candidates
from deploy.registry.kinds import CANDIDATES
from deploy.registry.records import Candidate
from learners.tasks.regression import Regression
from tests import small

PIPELINE = replace(small.pipeline, recipe=Recipe.parse("quantize(int8)"), task=Regression())
LARGE = 3e38  # float32 holds one, but no sum of them


@pytest.mark.parametrize(
    ("weight", "label", "refusal", "unknown"),
    [
        (0.1, 1.0, "None", set()),
        (0.1, LARGE, "a loss on the held-out rows is not finite: .*loss_after=inf", {"loss", "teacher_loss"}),
        (LARGE, 1.0, "disagree: largest difference nan", {"parity_largest", "parity_changed", "loss", "teacher_loss"}),
    ],
)
def test_a_record_can_be_read_whatever_its_figures_are(
    weight: float, label: float, refusal: str, unknown: set[str]
) -> None:
    learner = candidates.make_learner(PIPELINE)
    student, teacher = learner.shadow.model, learner.teacher.mean
    for model in (student, teacher):
        torch.nn.init.constant_(model.get_parameter("0.weight"), weight)
    rows = Data((torch.ones(100, 4),), torch.full((100,), label))
    made, figures = candidates.compress(PIPELINE, learner, student, rows)
    candidate = Candidate(
        number=0, commit=0, learned=0, at_ms=0, reason="", artifact="", figures=figures, refused=made.refusal
    )
    assert CANDIDATES.decode(CANDIDATES.encode(candidate)) == candidate
    assert {name for name in figures.__struct_fields__ if getattr(figures, name) is None} == unknown
    assert re.search(refusal, str(made.refusal))
