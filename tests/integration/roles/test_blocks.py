"""Servers follow a learner's live experts by blocks on a real store: whatever was lost, doubled or another's, a server
that has a block answers as the learner did after that commit.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from msgspec import Raw
from torch import Tensor, nn

from deploy.learning.blocks import MOST, Blocks
from deploy.learning.candidates import make_learner
from deploy.pipeline import Pipeline
from deploy.registry.kinds import BLOCKS, block_name
from deploy.serving.live import Followed
from learners.commits.state import pack_state, unpack_state
from learners.live.compiled import Doubles
from learners.live.news import DAY_MS
from learners.live.settings import Intercept, Live, Wide
from learners.online.learner import Learner
from streams.errors import ConfigError
from streams.events import Prediction, Sample
from streams.join.store import Store
from tests.learned import Feed, begun, commits
from tests.small import HOUR_MS, START_MS

NUMBERS = count()
WINDOW_MS = 30 * DAY_MS


class Visit(msgspec.Struct):
    """A visit of a shop."""

    country: str
    pages: float
    hour: int


def encode(visits: Sequence[Any]) -> tuple[Tensor, ...]:
    return (torch.tensor([[v.pages, v.hour / 24] for v in visits], dtype=torch.float32),)


def visit(rng: np.random.Generator) -> tuple[Visit, float]:
    made = Visit(str(rng.integers(0, 5)), float(rng.normal()), int(rng.integers(0, 24)))
    return made, float(rng.random() < 1 / (1 + np.exp(-2 * (made.country == "3") - made.pages)))


def samples(n: int, *, late: bool = False, start: int = 0) -> Iterator[Sample]:
    """Yield samples an hour apart, whose outcomes come after two hours, or five days."""
    rng = np.random.default_rng(start)
    for i in range(start, start + n):
        row, label = visit(rng)
        t_ms = START_MS + i * HOUR_MS
        said = (round(float(rng.normal()), 4), round(float(rng.normal()), 4), None)
        asked = Prediction(f"id-{i}", t_ms, 0, (0.25,), (0.5,), i, Raw(msgspec.json.encode(row)), said, (0.0,))
        yield Sample(f"id-{i}", "joined", 0, t_ms, label, t_ms + (5 * DAY_MS if late else 2 * HOUR_MS), asked)


ROWS = [visit(np.random.default_rng(seed))[0] for seed in range(70)]
OUTPUT = torch.linspace(-2, 2, len(ROWS))[:, None]


@pytest.fixture
def pipeline() -> Pipeline:
    return Pipeline(
        name=f"live-{next(NUMBERS)}",
        model=lambda: nn.Linear(2, 1),
        features=Visit,
        encode=encode,
        live=Live(wide=Wide(bits=12)),
    )


class World:
    """A learner and its blocks."""

    def __init__(self, pipeline: Pipeline, store: Store, *, late: bool = False) -> None:
        self.pipeline, self.store, self.late, self.learned = pipeline, store, late, 0
        self.learner = make_learner(pipeline)
        self.blocks = Blocks(store, pipeline.name, self.learner)

    def commit(self, n: int = 40, arrived: Sequence[tuple[int, int]] = ()) -> None:
        """Learn, and publish what changed."""
        self.learner.learn(list(samples(n, late=self.late, start=self.learned)))
        self.learned += n
        self.learner.count(START_MS + self.learned * HOUR_MS, self.learned, WINDOW_MS)
        self.blocks.publish(arrived)

    def follower(self) -> Followed:
        followed = Followed(self.pipeline, self.store)
        followed.refresh()
        return followed

    def check(self, followed: Followed) -> None:
        """Check that the follower answers as the learner does, bit for bit."""
        for _ in range(2):  # a base, then the blocks after it
            followed.refresh()
        live = self.learner.live
        assert live is not None
        said, logits = live.answer(ROWS, OUTPUT[:, 0].double().numpy(), self.learner.intercept.value[0])
        answer = followed.answer(ROWS, OUTPUT)
        assert (answer.learned, answer.intercept) == (self.learner.learned, self.learner.intercept.value)
        experts = np.array([[np.nan if z is None else z for z in row] for row in answer.experts])
        np.testing.assert_array_equal(experts, said[:, 2:])
        np.testing.assert_array_equal([row[0] for row in answer.served], logits.round(6))


@pytest.mark.parametrize("late", [False, True])
def test_a_server_answers_as_the_learner_after_each_commit(
    pipeline: Pipeline, embedded_store: Store, *, late: bool
) -> None:
    world = World(pipeline, embedded_store, late=late)
    followed = world.follower()
    for _ in range(12):
        world.commit()
        world.check(followed)
    live = world.learner.live
    assert live is not None
    assert live.news.known
    assert live.late is late
    world.check(world.follower())  # one that comes late


def test_a_server_that_missed_blocks_takes_the_base(pipeline: Pipeline, embedded_store: Store) -> None:
    world = World(pipeline, embedded_store)
    followed = world.follower()
    for _ in range(MOST + 5):
        world.commit(2)
    world.check(followed)
    world.commit(3)
    embedded_store.drop(pipeline.name, [block_name(n) for n in range(MOST + 1)])
    for _ in range(MOST):  # until there is a base again, it answers by what it has
        followed.refresh()
        assert followed.learned <= world.learner.learned
        world.commit(2)
    world.check(followed)


def test_a_server_hears_once_when_what_its_experts_know_had_arrived(pipeline: Pipeline, embedded_store: Store) -> None:
    """Block n brings n outcomes of the time n; a base counts for the blocks that the server has missed."""
    world = World(pipeline, embedded_store)
    followed = world.follower()
    assert followed.arrived == []  # what was learned before it came says nothing of it
    heard = []
    for n in range(1, 2 * MOST):
        world.commit(1, [(n, n)])
        if n < MOST // 2 or n > MOST + 20:
            followed.refresh()
        heard += followed.arrived
        followed.arrived.clear()
    followed.refresh()
    assert heard + followed.arrived == [(n, n) for n in range(1, 2 * MOST)]
    world.blocks.begin()
    followed.refresh()
    followed.refresh()
    assert heard[-1] == (2 * MOST - 1, 2 * MOST - 1)
    assert followed.arrived == []


def test_blocks_of_another_learner_are_not_mixed_with_ours(pipeline: Pipeline, embedded_store: Store) -> None:
    world = World(pipeline, embedded_store)
    world.commit()
    followed = world.follower()
    world.check(followed)
    state, learned = pack_state(world.learner.state()), world.learned
    for _ in range(3):
        world.commit()
    world.check(followed)
    world.learner.load(unpack_state(state))  # the store went back in time, and the learner with it
    world.blocks.begin()
    world.learned = learned
    world.check(followed)
    world.commit()
    world.check(followed)


def test_without_a_store_s_word_the_version_answers_alone(pipeline: Pipeline, embedded_store: Store) -> None:
    followed = Followed(pipeline, embedded_store)
    followed.refresh()
    answer = followed.answer(ROWS, OUTPUT)
    assert answer.experts == answer.served == [()] * len(ROWS)
    assert answer.of(OUTPUT).equal(OUTPUT)
    world = World(pipeline, embedded_store)
    world.commit()
    world.check(followed)
    embedded_store.drop(pipeline.name, [BLOCKS.name, block_name()])
    world.check(followed)  # it goes on with what it has


def test_a_learner_that_starts_again_sends_what_answers_only_when_news_turns_late(
    pipeline: Pipeline, embedded_store: Store
) -> None:
    world = World(pipeline, embedded_store, late=True)
    for _ in range(12):
        world.commit()
    live = world.learner.live
    assert live is not None
    assert live.late
    known = live.news.rung, live.news.known
    live.news.rung, live.news.known = 4, True  # news was early when the learner began again
    live._turn()
    world.blocks.begin()
    followed = world.follower()
    live.news.rung, live.news.known = known
    live._turn()
    world.blocks.publish()
    world.check(followed)


def test_a_pipeline_can_leave_live_experts_out(pipeline: Pipeline, embedded_store: Store) -> None:
    bare = replace(pipeline, live=Intercept())
    assert make_learner(bare).live is None
    world = World(pipeline, embedded_store)
    world.commit()
    followed = world.follower()
    alone = Followed(bare, embedded_store)
    alone.refresh()
    assert alone.answer(ROWS, OUTPUT).served == [()] * len(ROWS)
    assert followed.answer(ROWS, OUTPUT).served != [()] * len(ROWS)


def test_a_state_holds_the_live_experts(pipeline: Pipeline, embedded_store: Store) -> None:
    world = World(pipeline, embedded_store)
    world.commit(200)
    state = unpack_state(pack_state(world.learner.state()))
    other: Learner = make_learner(pipeline)
    other.load(state)
    for learner in (world.learner, other):
        learner.learn(list(samples(50, start=200)))
    assert pack_state(other.state()) == pack_state(world.learner.state())


class Sum:
    """An expert of a user's own: it keeps the sum of the labels, among so many numbers."""

    names = ("sum",)
    numbers = 1

    def __init__(self) -> None:
        self.kept = torch.zeros(self.numbers, dtype=torch.float64)

    def answer(self, rows: Sequence[Any]) -> Doubles:
        return np.full((len(rows), 1), float(self.kept[0]))

    def learn(self, rows: Sequence[Any], labels: Doubles, weights: Doubles) -> None:
        self.kept[0] += labels.sum()

    def state(self) -> dict[str, Tensor]:
        return {"kept": self.kept.clone()}

    def load(self, state: Mapping[str, Tensor]) -> None:
        self.kept = state["kept"].clone()


class Large(Sum):
    """Each of its states is larger than all blocks of a run may be."""

    numbers = 20_000_000 // 8


class TooLarge(Sum):
    numbers = 40_000_000 // 8


class Raises(Sum):
    def learn(self, rows: Sequence[Any], labels: Doubles, weights: Doubles) -> None:
        raise ZeroDivisionError("by my own fault")


class TurnsNan(Sum):
    def learn(self, rows: Sequence[Any], labels: Doubles, weights: Doubles) -> None:
        self.kept[0] = np.nan


def owning(pipeline: Pipeline, expert: type[Sum]) -> Pipeline:
    return replace(pipeline, live=Live(wide=Wide(bits=12), experts=[expert]))


@pytest.mark.parametrize("expert", [Sum, Large])
def test_servers_follow_an_expert_of_a_user_s_own(pipeline: Pipeline, embedded_store: Store, expert: type[Sum]) -> None:
    world = World(owning(pipeline, expert), embedded_store)
    followed = world.follower()
    for _ in range(3):
        world.commit(3)
        world.check(followed)


def test_an_expert_whose_state_servers_cannot_follow_is_refused(pipeline: Pipeline, embedded_store: Store) -> None:
    with pytest.raises(ConfigError, match=r"the state of the expert 'sum' .* has 40,000,000 bytes"):
        World(owning(pipeline, TooLarge), embedded_store)


def test_what_an_expert_raises_ends_the_learner_and_costs_no_sample(
    pipeline: Pipeline, embedded_store: Store, tmp_path: Path
) -> None:
    own = owning(pipeline, Raises)
    feed = Feed(embedded_store, begun(tmp_path / "first", own), tmp_path / "feed", list(samples(40)), pipeline=own)
    role = feed.learner()
    feed.join()
    with pytest.raises(ConfigError, match=r"the expert 'sum' .* raised ZeroDivisionError in learn: by my own fault"):
        role.step(1)
    assert not any(commit.quarantined or commit.batches for commit in commits(feed.registry))


def test_an_answer_that_is_no_number_ends_the_server(pipeline: Pipeline, embedded_store: Store) -> None:
    world = World(owning(pipeline, TurnsNan), embedded_store)
    followed = world.follower()
    world.commit()
    followed.refresh()
    with pytest.raises(ConfigError, match=r"the expert 'sum' .* answered \[nan\] to Visit.*; a logit must be finite"):
        followed.answer(ROWS, OUTPUT)
