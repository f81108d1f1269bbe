"""What is served beside another system's answers: gain, interval, and when ours would have taken over."""

import msgspec
import pytest

from learners.evaluation.beside import Beside
from learners.evaluation.gate import Promotion
from learners.evaluation.trials.asked import DAY_MS
from learners.evaluation.trials.timing import Timing
from learners.tasks.binary import Binary
from streams.events import Sample
from streams.join.policy import JoinPolicy
from tests import small
from tests.unit.learners.evaluation.trials.test_trials import LATE, World

A_DAY = 200


def told(days: int, ours: float, theirs: float | None) -> list[Sample]:
    """Return samples that were answered by shares of the truth, outcomes an hour later."""
    made = []
    for i, one in enumerate(small.samples(days * A_DAY)):
        t_ms = small.START_MS + i * (DAY_MS // A_DAY)
        x = msgspec.json.decode(one.prediction.features)["x"]
        truth = 2 * (x[0] - x[1])
        said = () if theirs is None else (theirs * truth,)
        asked = msgspec.structs.replace(one.prediction, t=t_ms, learned=0, output=(ours * truth,), theirs=said)
        made.append(msgspec.structs.replace(one, t=t_ms, prediction=asked, label_t=t_ms + 3_600_000))
    return made


def play(days: int, ours: float, theirs: float | None) -> Beside:
    world = World(JoinPolicy(window_s=7_200))
    world.judge.beside = Beside(Binary(), Promotion(), Timing.of(JoinPolicy(window_s=7_200)))
    samples = told(days, ours, theirs)
    for start in range(0, len(samples), 150):
        part = samples[start : start + 150]
        if theirs is None:
            world.judge.beside.take(part)
            continue
        world.judge.measured._models = ("frozen", "frozen_live", "deep", "served", "shadow", "theirs")
        world.take(part, part[-1].label_t)
    return world.judge.beside


def test_a_better_one_would_have_taken_over_and_its_gain_is_in_the_interval() -> None:
    beside = play(40, 1.0, 0.2)
    shown = beside.against
    assert shown is not None
    assert shown.interval is not None
    assert 0 < shown.interval[0] < shown.gain < shown.interval[1]
    assert beside.proven_day is not None
    assert small.START_MS // DAY_MS < beside.proven_day < small.START_MS // DAY_MS + 40
    assert shown.log_wealth > beside.log_needed


@pytest.mark.parametrize("theirs", [1.0, 2.0])
def test_an_equal_or_worse_one_would_not(theirs: float) -> None:
    beside = play(20, 1.0 if theirs == 1.0 else 0.1, theirs if theirs == 1.0 else 1.0)
    assert beside.proven_day is None
    assert beside.against is not None
    assert beside.against.gain <= 0


def test_predictions_without_their_answer_are_no_comparison() -> None:
    assert play(3, 1.0, None).against is None


def test_the_metrics_have_a_row_of_theirs_where_ours_are_its_shadow() -> None:
    world = World(LATE)
    judge = type(world.judge)(
        Binary(),
        world.judge._encoder,
        Promotion(),
        0.0,
        Timing.of(LATE),
        world.judge._first,
        world.made.get,
        theirs=True,
    )
    world.judge = judge
    samples = told(2, 1.0, 0.2)
    world.take(samples, samples[-1].label_t)
    totals = judge.measured.totals()
    assert totals["theirs"].count == totals["served"].count == len(samples)
    assert totals["served"].loss < totals["theirs"].loss
