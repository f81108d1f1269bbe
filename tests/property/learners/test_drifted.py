"""A drift that makes a candidate due, under any course of commits, restarts and shards that go back in time: the commit
that says so leads to the live state when it is learned again, and the candidate says since when."""

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st
from redis import Redis

from deploy.learning.distiller import DistillerRole
from deploy.learning.rules import DRIFT, CommitRules
from deploy.registry.commits import read
from deploy.registry.kinds import CANDIDATES, COMMITS
from learners.online import gap
from streams.join.store import Store
from tests import small
from tests.learned import NEVER, Feed, begun, put_back, snapshot

N = 260
OPS = st.one_of(
    st.tuples(st.just("learn"), st.integers(5, 60)),
    st.tuples(st.just("back"), st.integers(1, 4)),
    st.just(("restart",)),
)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return begun(tmp_path_factory.mktemp("first"))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A version as good as the shadow is behind it by this margin, and is seen to be after a few small blocks."""
    for name, value in {"MARGIN": -1.0, "BLOCK": 8, "LEAST": 3, "LEAST_A_DAY": 1.0, "QUIET": 40, "ENOUGH": 60}.items():
        monkeypatch.setattr(gap, name, value)


@given(ops=st.lists(OPS, min_size=4, max_size=14), size=st.integers(4, 40))
@settings(
    max_examples=10,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@pytest.mark.usefixtures("quick")
def test_each_drift_is_learned_again_as_it_was(
    embedded_store: Store, embedded_redis: Redis, first: Path, ops: list[tuple[Any, ...]], size: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        feed = Feed(embedded_store, first, Path(folder) / "registry", small.samples(N))
        role = feed.learner(size, drift_a_year=12)
        then = [snapshot(embedded_redis, feed.name, 0)]
        for op, *how in ops:
            if op == "restart":
                role = feed.learner(size, drift_a_year=12)
            elif op == "back":
                del then[max(1, len(then) - how[0]) :]
                put_back(embedded_redis, then[-1])
            else:
                feed.join(0, how[0])
                role.step(1)
                then.append(snapshot(embedded_redis, feed.name, 0))
        feed.join(0)
        role._rules = CommitRules(size, NEVER, NEVER, 12)
        while role.step(1):
            pass
        feed.finish(role)
        feed.check(role)
        dues = [due for n in range(feed.registry.last(COMMITS) + 1) if (due := read(feed.registry, n).due)]
        assert dues
        assert all(due.reason == DRIFT and due.since_ms is not None for due in dues)
        event(f"{len(dues)} drifts")
        if len(ops) == 4:  # distilling takes long
            distiller = DistillerRole(feed.pipeline, feed.store, feed.registry)
            while distiller.step(1):
                pass
            made = list(feed.registry.records(CANDIDATES))
            assert [candidate.since_ms for candidate in made] == [due.since_ms for due in dues]
            assert made[0].why.startswith("drift since ")
