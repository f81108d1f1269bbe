"""Which requests a canary answers, and when a step is over."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from learners.evaluation.canary import Canary, Steps, chosen
from learners.evaluation.gate import Promotion
from shadowstream import ConfigError
from streams.events import CORRECTION, NEGATIVE, WAITING, Sample
from tests import small

KEYS = [f"id-{n}" for n in range(10_000)]


@given(st.text(max_size=20), st.text(max_size=70), st.floats(0, 1), st.floats(0, 1))
def test_while_the_share_grows_an_id_stays(key: str, artifact: str, one: float, other: float) -> None:
    if chosen(key, artifact, min(one, other)):
        assert chosen(key, artifact, max(one, other))
    assert chosen(key, artifact, 1.0)
    assert not chosen(key, artifact, 0.0)


def test_a_share_is_that_share_and_each_artifact_has_requests_of_its_own() -> None:
    ours, theirs = ([chosen(key, artifact, 0.1) for key in KEYS] for artifact in ("ab" * 32, "cd" * 32))
    assert sum(ours) == pytest.approx(1_000, abs=150)
    assert sum(a and b for a, b in zip(ours, theirs, strict=True)) == pytest.approx(100, abs=50)


def answered(version: int, count: int, kind: str = "joined", every: int = 1) -> list[Sample]:
    return [
        msgspec.structs.replace(one, kind=kind, prediction=msgspec.structs.replace(one.prediction, version=version))
        for one in small.samples(count * every)[::every]
    ]


def test_a_step_is_over_by_its_own_first_outcomes_or_by_their_days() -> None:
    steps = Steps(Canary(samples=10, days=2), lambda version: version in (3, 4))
    steps.take(answered(2, 50) + answered(3, 4) + answered(3, 50, CORRECTION) + answered(3, 50, WAITING))
    assert (steps.own(3).samples, steps.over(3)) == (4, False)
    assert steps.own(2).samples == 0
    steps.take(answered(3, 6, NEGATIVE))
    assert (steps.over(3), steps.over(4)) == (True, False)  # an outcome of before is no outcome of the next step
    steps.take(answered(4, 2, every=47))
    assert not steps.over(4)  # an hour less than two days
    steps.take(answered(4, 2, every=48))
    assert steps.over(4)


@pytest.mark.parametrize("steps", [(), (0.5, 0.1), (0.1, 0.1), (0.0,), (1.0,), (1,), "half", 0.5])
def test_shares_that_do_not_grow_are_refused(steps: Any) -> None:
    with pytest.raises(ConfigError, match="shares above 0 and below 1 that grow"):
        Canary(steps=steps)


def test_other_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"Canary\.samples must be at least 1"):
        Canary(samples=0)
    with pytest.raises(ConfigError, match=r"Canary\.days must be above 0"):
        Canary(days=0)
    with pytest.raises(ConfigError, match=r"Promotion.canary must be Canary\(...\)"):
        Promotion(canary=0.1)  # type: ignore[arg-type]
    slow = Promotion(policy="canary", canary=Canary(days=3)).doubt
    assert slow is not None
    assert "3 steps of up to 3 days, and a new candidate is made every 7" in slow
    assert Promotion(policy="canary").doubt is Promotion(canary=Canary(days=3)).doubt is None
    assert Canary(steps=[0.2]) == Canary(steps=(0.2,))
    assert [Promotion(policy="canary").next_share(one) for one in (0.0, 0.01, 0.05, 0.5)] == [0.01, 0.1, 0.1, 1.0]
