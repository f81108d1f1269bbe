"""How large a request may be: its prediction, with the longest numbers and names, still fits into a record."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from deploy.serving.answering import Answerer, Asked, bisected, most_bytes
from learners.tasks.classes import Classes
from learners.tasks.multilabel import MultiLabel
from learners.tasks.task import Answering
from shadowstream import ConfigError
from streams.errors import MalformedEvent
from streams.events import Prediction, Record, Request, answered
from streams.join.fits import ID_BYTES, ID_COST
from tests import small

LONGEST = -1.2345678901234567e-105
NAMES = tuple(f"{n:060}" for n in range(30))


@pytest.mark.parametrize("task", [Classes(NAMES), MultiLabel(NAMES), MultiLabel(30)])
def test_the_largest_request_s_prediction_fits(task: Any) -> None:
    answering: Answering = task
    limit = 16_384
    most = most_bytes("t", limit, task) - ID_COST * ID_BYTES
    numbers = (LONGEST,) * 30
    prediction = Prediction("\x01" * ID_BYTES, 2**53, 2**53, numbers, numbers, 2**53, Raw(b"1" * most))
    (meaning,) = answering.answers(torch.full((1, 30), 1.2345678e-5))
    assert len(answered(prediction, meaning)) + ID_BYTES <= limit
    with pytest.raises(ConfigError, match="a prediction of 30 outputs does not fit into a record of topic 't'"):
        most_bytes("t", 5_000, task)


@given(st.lists(st.booleans(), max_size=70))
def test_each_request_is_answered_or_refused_for_itself_in_its_order(good: list[bool]) -> None:
    items, calls = list(enumerate(good)), 0

    def invert(some: Sequence[tuple[int, bool]]) -> list[int]:
        nonlocal calls
        calls += 1
        if not all(one for _, one in some):
            raise ValueError(f"{sum(not one for _, one in some)} bad")
        return [-n for n, _ in some]

    found = list(bisected(items, invert))
    assert [item for item, _ in found] == items
    assert [str(made) if isinstance(made, ValueError) else made for _, made in found] == [
        -n if one else "1 bad" for n, one in items
    ]
    bad = good.count(False)
    assert calls <= 1 + 2 * bad * max(1, len(items)).bit_length()


class Answers:
    """A version that answers what it is told, or raises it."""

    encoder = None

    def __init__(self, number: int, says: float | Exception) -> None:
        self.record, self._says = SimpleNamespace(number=number), says

    def answer(self, rows: Any) -> torch.Tensor:
        if isinstance(self._says, Exception):
            raise self._says
        return torch.full((len(rows.rows), 1), self._says)


@pytest.mark.parametrize("says", [0.5, float("nan"), RuntimeError("no")])
def test_a_canary_answers_its_requests_and_what_it_cannot_the_champion_does(says: float | Exception) -> None:
    champion, canary = Answers(3, 1.0), Answers(4, says)
    both = SimpleNamespace(champion=champion, canary=canary, of=lambda key: canary if key in ("1", "2") else champion)
    asked = [
        Asked(cast(Record, None), Request(str(n), n, b"{}"), small.Point((0.0,) * 4), ()) for n in range(4)
    ]  # fmt: skip
    made = {
        one.request.id: msgspec.json.decode(made, type=Prediction)
        for one, made in Answerer(small.pipeline, cast(Any, both), cast(Any, Unsure()), 10**6).answer(asked)
        if isinstance(made, bytes)
    }
    able = says == 0.5
    assert {key: (one.version, one.output[0]) for key, one in made.items()} == {
        str(n): (4, 0.5) if able and n in (1, 2) else (3, 1.0) for n in range(4)
    }


class Unsure:
    """A champion that answers the first number of each point, and live experts that say nothing."""

    record, encoder, canary = SimpleNamespace(number=7), None, None

    @property
    def champion(self) -> Any:
        return self

    def answer(self, rows: Any, outputs: torch.Tensor | None = None) -> Any:
        if outputs is None:
            return torch.tensor([row.x[:1] for row in rows.rows])
        empty = [()] * len(outputs)
        return SimpleNamespace(of=lambda raw: raw, experts=empty, served=empty, intercept=(0.0,), learned=0)


def test_a_request_whose_answer_is_not_finite_is_refused_and_holds_back_no_other() -> None:
    champion = cast(Any, Unsure())
    numbers = [0.5, float("nan"), -1.0, float("inf")]
    asked = [
        Asked(cast(Record, None), Request(str(n), n, b"{}"), small.Point((x, 0.0, 0.0, 0.0)), ())
        for n, x in enumerate(numbers)
    ]
    made = [one for _, one in Answerer(small.pipeline, champion, champion, 10**6).answer(asked)]
    assert [isinstance(one, bytes) for one in made] == [True, False, True, False]
    assert isinstance(made[1], MalformedEvent)
    assert str(made[1]) == "v7 answers a number that is not finite"
