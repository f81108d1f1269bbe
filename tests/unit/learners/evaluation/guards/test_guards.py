"""Guard rails: each lets good candidates pass, untrained champions and changed worlds included, and sees its fault."""

import math

import pytest
import torch
from torch import Tensor

from learners.evaluation.guards.guard import GuardRails
from learners.evaluation.guards.latency import latency
from learners.evaluation.guards.outcomes import Outcomes
from learners.evaluation.guards.outputs import alike, changed, constant, distance, finite
from learners.evaluation.verdict import Guard, vetoed
from learners.tasks.binary import Binary
from learners.tasks.classes import Classes
from learners.tasks.regression import Regression

TRUTH = torch.linspace(-3, 3, 600)[:, None]
LABELS = (torch.sigmoid(TRUTH[:, 0]) > torch.rand(600, generator=torch.Generator().manual_seed(0))).float()
TASK, RAILS = Binary(), GuardRails()


def test_outputs_that_are_no_numbers_are_counted() -> None:
    assert finite(TRUTH).passed
    for wrong in (math.nan, math.inf):
        found = finite(torch.cat([TRUTH, torch.tensor([[wrong]])]))
        assert (found.passed, found.said) == (False, "1 of 601 outputs are not finite")


@pytest.mark.parametrize(
    ("share", "champion", "passed"),
    [(1.0, TRUTH, True), (0.02, TRUTH, False), (0.0, TRUTH, False), (0.1, 1e4 * TRUTH, True), (0.3, 0 * TRUTH, True)],
)
def test_a_constant_is_seen_also_beside_an_untrained_champion(share: float, champion: Tensor, passed: bool) -> None:
    assert constant(TASK, share * TRUTH, champion, LABELS, 0.05).passed is passed
    assert constant(TASK, share * TRUTH, champion, LABELS, None).passed


def test_numbers_spread_as_their_labels_do() -> None:
    target = 1e3 * TRUTH[:, 0]
    for task in (Regression(),):
        assert constant(task, 500 * TRUTH, 1e9 * TRUTH, target, 0.05).passed
        assert not constant(task, TRUTH, 1e9 * TRUTH, target, 0.05).passed


def test_how_far_answers_move_is_measured_and_vetoes_by_a_limit_alone() -> None:
    reversed_, strict = -TRUTH, GuardRails(drift=0.1, change=0.25)
    assert distance(TRUTH[:, 0], reversed_[:, 0]) < 0.01
    assert distance(TRUTH[:, 0], TRUTH[:, 0] + 10) == 1
    assert not vetoed(list(alike(TASK, reversed_ + 2, TRUTH, RAILS)))
    said = vetoed(list(alike(TASK, TRUTH + 10, TRUTH, strict)))
    assert said == (
        "the distribution of scores is 1.00 from the champion's, at most 0.1; 50 % of decisions change, at most 25"
    )
    assert vetoed(list(alike(TASK, TRUTH, TRUTH, strict))) == ""


def test_a_decision_is_the_tasks() -> None:
    rows = torch.tensor([[1.0, 2.0], [2.0, 1.0], [3.0, 1.0]])
    assert changed(Classes(2), rows, rows + 5) == 0
    assert changed(Classes(2), rows, rows.flip(1)) == 1
    assert changed(Binary(), TRUTH, -TRUTH) == 1
    assert changed(Regression(), TRUTH, TRUTH + 0.1) == 0
    assert changed(Regression(), TRUTH, TRUTH + 5) == 1


def found(ours: Tensor, theirs: Tensor, values: list[str] | None = None, times: int = 1) -> dict[str, Guard]:
    """Return what outcomes show, of samples that come in two parts, so many times."""
    outcomes = Outcomes(TASK, ["origin"] if values else [])
    for at in [slice(0, None, 2), slice(1, None, 2)] * times:
        outcomes.take("first", ours[at], theirs[at], LABELS[at], [(one,) for one in (values or [""] * 600)[at]])
    return {guard.name: guard for guard in outcomes.guards(RAILS)}


def test_a_candidate_that_is_off_is_seen_once_chance_does_not_explain_it_and_the_champion_is_nearer() -> None:
    assert found(TRUTH, 0 * TRUTH)["calibration"].passed
    off = found(TRUTH + 2, TRUTH)["calibration"]
    assert not off.passed
    assert off.value == pytest.approx(0.55, abs=0.15)
    assert found(TRUTH + 2.1, TRUTH + 2)["calibration"].passed  # a day of storms, as bad for both
    assert found(TRUTH + 2, TRUTH + 3)["calibration"].passed
    few = Outcomes(TASK, [])
    few.take("first", TRUTH[-12:] - 2, TRUTH[-12:], LABELS[-12:], [()] * 12)
    (chance,) = few.guards(RAILS)
    assert chance.passed


def test_a_slice_in_which_it_is_surely_worse_is_seen() -> None:
    values = ["north" if n % 3 else "south" for n in range(600)]
    south = torch.tensor([value == "south" for value in values])[:, None]
    assert found(TRUTH, 0.8 * TRUTH, values)["slice"].passed
    worse = found(torch.where(south, -TRUTH, TRUTH), 0.1 * TRUTH, values)["slice"]
    assert not worse.passed
    assert "worst slice origin south: loss +" in worse.said
    assert "over 200 samples" in worse.said
    few = ["north" if n % 10 else "south" for n in range(600)]
    south = torch.tensor([value == "south" for value in few])[:, None]
    assert found(torch.where(south, -TRUTH, TRUTH), 0.1 * TRUTH, few)["slice"].passed  # of 60 samples


def test_with_a_new_champion_the_sums_begin_anew() -> None:
    outcomes = Outcomes(TASK, [])
    outcomes.take("first", TRUTH + 2, TRUTH, LABELS, [()] * 600)
    outcomes.take("second", TRUTH, TRUTH, LABELS, [()] * 600)
    assert vetoed(list(outcomes.guards(RAILS))) == ""


class Busy(torch.nn.Module):
    """Multiplies so many times."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(self.times):
            x = x * 1.0
        return x


def test_a_model_that_takes_much_longer_is_seen_unless_it_takes_next_to_nothing() -> None:
    slow, quick, rows = Busy(20_000), Busy(1), (TRUTH[:64],)
    assert not latency(slow, quick, rows, 10.0).passed
    assert latency(slow, quick, rows, None).passed
    assert latency(slow, slow, rows, 10.0).passed
    brief = latency(Busy(40), quick, rows, 2.0)
    assert (brief.value or 0) > 2
    assert brief.passed
