"""Whatever answers in the pool keeps one contract: the tables, the docstring's Rate, and the example's River and VW.

An expert of yours is one more line in EXPERTS.
"""

import doctest
from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deploy.pipeline import Pipeline, load
from learners.commits.state import pack_state, unpack_state
from learners.live.compiled import Doubles
from learners.live.experts.checked import Checked
from learners.live.experts.expert import Expert, Pooled
from learners.live.features.reader import Reader
from learners.live.make import linear
from learners.live.settings import Live, Wide

EXAMPLE = Path(__file__).parents[5] / "examples" / "expert" / "pipeline.py"
WILD = (0.0, -1.0, 1e300, -1e300, np.inf, -np.inf, np.nan)


@cache
def example() -> Pipeline:
    return load(EXAMPLE)


def tables() -> Pooled:
    wide = Wide(bits=10)
    return linear(wide, Reader(wide.fields(example().features)))


def rate() -> Pooled:
    shown = doctest.DocTestFinder(recurse=False).find(Expert, "Expert")[0]
    doctest.DocTestRunner().run(shown, clear_globs=False)
    return Checked(shown.globs["Rate"], 0)


def theirs(at: int) -> Pooled:
    live = example().live
    assert isinstance(live, Live)
    return Checked(live.experts[at], at)


EXPERTS: dict[str, Callable[[], Pooled]] = {
    "tables": tables,
    "rate": rate,
    "river": lambda: theirs(0),
    "vw": lambda: theirs(1),
}


@pytest.fixture(params=EXPERTS)
def make(request: pytest.FixtureRequest) -> Callable[[], Pooled]:
    return EXPERTS[request.param]


def lessons(n: int, seed: int = 0) -> tuple[Sequence[Any], Doubles, Doubles]:
    """Return rows whose first number says much of their labels, three of four of which are 1."""
    draw = np.random.default_rng(seed)
    x = draw.choice([0.0, 0.5, 1.0], (n, 9))
    labels = (draw.random(n) < np.where(x[:, 0] > 0, 0.95, 0.35)).astype(float)
    return [example().features(*row) for row in x.tolist()], labels, draw.choice([0.5, 1.0, 2.0], n)


def state(expert: Pooled) -> bytes:
    return pack_state(expert.state())


def test_a_row_is_answered_alike_alone_and_among_others(make: Callable[[], Pooled]) -> None:
    expert, (rows, labels, weights) = make(), lessons(60)
    for _ in range(2):
        said = expert.answer(rows)
        assert said.shape == (60, len(expert.names))
        assert np.isfinite(said).all()
        np.testing.assert_array_equal(said, [expert.answer([row])[0] for row in rows])
        expert.learn(rows, labels, weights)
    assert expert.answer([]).shape == (0, len(expert.names))


def test_it_learns(make: Callable[[], Pooled]) -> None:
    expert, (rows, labels, _) = make(), lessons(600)

    def loss() -> Doubles:
        losses: Doubles = np.logaddexp(0, np.where(labels[:, None] > 0, -1, 1) * expert.answer(rows)).mean(0)
        return losses

    before = loss()
    expert.learn(rows, labels, np.ones(600))
    assert (loss() < before - 0.02).all()


@pytest.mark.parametrize("seed", range(3))
def test_it_is_the_same_however_lessons_are_cut(make: Callable[[], Pooled], seed: int) -> None:
    whole, cut, (rows, labels, weights) = make(), make(), lessons(200, seed)
    whole.learn(rows, labels, weights)
    ends = [0, *sorted(np.random.default_rng(seed).integers(0, 201, 12).tolist()), 200]
    for start, end in pairwise(ends):
        cut.learn(rows[start:end], labels[start:end], weights[start:end])
    assert state(whole) == state(cut)


def test_a_saved_state_goes_on_as_the_one_that_was_not(make: Callable[[], Pooled]) -> None:
    first, second, (rows, labels, weights) = make(), make(), lessons(300)
    first.learn(rows[:150], labels[:150], weights[:150])
    second.load(unpack_state(state(first)))
    assert state(first) == state(second)
    for expert in (first, second):
        expert.learn(rows[150:], labels[150:], weights[150:])
    assert state(first) == state(second)
    np.testing.assert_array_equal(first.answer(rows), second.answer(rows))


def test_it_goes_back_to_an_earlier_state(make: Callable[[], Pooled]) -> None:
    expert, (rows, labels, weights) = make(), lessons(100)
    new = state(expert)
    expert.learn(rows, labels, weights)
    kept, said = expert.state(), expert.answer(rows)
    before = pack_state(kept)
    expert.learn(rows, 1 - labels, weights)
    assert pack_state(kept) == before, "a state is a copy"
    expert.load(kept)
    np.testing.assert_array_equal(expert.answer(rows), said)
    expert.load(unpack_state(new))
    np.testing.assert_array_equal(expert.answer(rows), make().answer(rows))


def test_servers_follow_it(make: Callable[[], Pooled]) -> None:
    learner, server, (rows, labels, weights) = make(), make(), lessons(120)
    for part in range(0, 120, 40):
        learner.learn(rows[part : part + 40], labels[part : part + 40], weights[part : part + 40])
        server.follow(unpack_state(pack_state(learner.changes(whole=part == 0))))
        np.testing.assert_array_equal(server.answer(rows), learner.answer(rows))


def test_no_row_label_or_weight_makes_it_useless(make: Callable[[], Pooled]) -> None:
    expert, (rows, labels, weights) = make(), lessons(49 * 3)
    wild = [example().features(*[x] * 9) for x in WILD]
    expert.learn(wild * 7, np.repeat([0.0, 1.0, np.nan, np.inf, -np.inf, 7.0, -7.0], 7), np.ones(49))
    expert.learn(rows[:49], labels[:49], np.resize([*WILD, 1e9], 49))
    assert np.isfinite(expert.answer([*rows, *wild])).all()
    for _ in range(20):
        expert.learn(rows, labels, weights)
    said = expert.answer(rows)
    assert np.isfinite(said).all()
    assert (np.where(labels > 0, 1, -1) @ said > 0).all(), "it goes on learning"
