"""Freshness on a real store, from the join through the learner to the server."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from msgspec import Raw
from torch import Tensor

from deploy.learning.rules import CommitRules
from deploy.registry.freshness import FreshNote
from deploy.registry.kinds import COMMITS, FRESHNESS
from deploy.serving.fresh import Fresh
from deploy.serving.live import Followed
from learners.live.settings import Live, Wide
from streams.events import Prediction
from streams.join.store import Store
from tests import small
from tests.learned import NEVER, Fed, Feed, begun

AGO_MS = 60_000


class Spot(msgspec.Struct):
    """A point of the small pipeline's, by one of its numbers: live experts read no tuples."""

    x: float = 0.0


def spots(rows: Sequence[Any]) -> tuple[Tensor, ...]:
    return (torch.tensor([[row.x] * 4 for row in rows], dtype=torch.float32),)


def seen(asked: Prediction) -> Prediction:
    """Return a prediction of a spot, answered by live experts as well."""
    return msgspec.structs.replace(asked, features=Raw(b'{"x":0.5}'), experts=(0.5, 0.5, None), answer=(0.0,))


def note(made: Mapping[str, bytes]) -> FreshNote:
    return msgspec.json.decode(made[FRESHNESS.name], type=FreshNote)


@pytest.fixture
def feed(fed: Fed) -> Feed:
    return fed(small.samples(100))


def test_what_live_experts_know_is_counted_once_from_its_arrival(embedded_store: Store, tmp_path: Path) -> None:
    own = replace(small.pipeline, features=Spot, encode=spots, history=None, feed=None, live=Live(wide=Wide(bits=12)))
    log = [msgspec.structs.replace(one, prediction=seen(one.prediction)) for one in small.samples(100)]
    feed = Feed(embedded_store, begun(tmp_path / "first", own), tmp_path / "feed", log, pipeline=own)
    role, store = feed.learner(20), feed.store
    followed, fresh = Followed(feed.pipeline, store), Fresh(feed.name, store, 0)
    followed.refresh()
    assert fresh.written(followed.arrived, 0) == {}
    feed.arrived_ms = store.now_ms() - AGO_MS
    feed.join(most=40)
    feed.arrived_ms = store.now_ms() + AGO_MS  # a joiner's clock may go wrong
    feed.join(most=40)
    feed.finish(role)
    followed.refresh()
    live = note(fresh.written(followed.arrived, 0)).live
    assert live is not None
    assert live.count == 100
    old = sum(n for n, upto_ms in zip(live.counts, live.upto_ms, strict=True) if upto_ms > AGO_MS)
    assert old == 40
    followed.arrived.clear()
    assert fresh.written(followed.arrived, 0) == {}


def test_a_version_is_counted_from_the_arrival_of_what_its_commit_knew(feed: Feed) -> None:
    role, fresh = feed.learner(20), Fresh(feed.name, feed.store, 0)
    role._rules = CommitRules(20, NEVER, 1)
    for _ in range(5):
        feed.join(most=20)
        role.step(1)
    due = [
        n for n in range(1, feed.registry.last(COMMITS) + 1) if (one := feed.registry.record(COMMITS, n)) and one.due
    ]
    assert len(due) > 2
    first, *_, last = due
    for commit in (first, last, first):  # a version that comes back knows nothing new
        made = fresh.written([], commit)
    assert made == {}
    fresh = Fresh(feed.name, feed.store, first)  # a server that starts again counts what comes after
    later = note(fresh.written([], last)).weights
    learned = [record.learned for n in (first, last) if (record := feed.registry.record(COMMITS, n))]
    assert later is not None
    assert later.count == learned[1] - learned[0]
