"""The learner under any course of events: shards that go back in time, poison, restarts; then everything was learned
once, the equations hold, and the state is what its history makes, whenever whole states are taken."""

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st
from redis import Redis

from deploy.registry.commits import read
from deploy.registry.kinds import COMMITS
from streams.join.store import Store
from tests import small
from tests.learned import BAD, LARGE, Feed, begun, put_back, snapshot, spoilt

SHARDS = 2
SHARD = st.integers(0, SHARDS - 1)
LEARN = st.tuples(st.just("learn"), SHARD, st.integers(1, 40))
BACK = st.tuples(st.just("back"), SHARD, st.integers(1, 6))  # before the last so many of its steps
OPS = st.one_of(
    LEARN, LEARN, BACK, st.tuples(st.just("join"), SHARD, st.integers(1, 40)),
    st.sampled_from([("restart",), ("stop",), ("state",)]),
)  # fmt: skip
LONG_S = 1e9  # of learning: a state is due at the next commit


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return begun(tmp_path_factory.mktemp("first"))


@given(
    ops=st.lists(OPS, min_size=6, max_size=25),
    poison=st.dictionaries(st.integers(0, 149), st.sampled_from([BAD, LARGE]), max_size=3),
    size=st.integers(1, 20),
)
@settings(
    max_examples=30,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_whatever_happens_all_is_learned_once_and_the_state_is_a_fold(
    embedded_store: Store,
    embedded_redis: Redis,
    first: Path,
    ops: list[tuple[Any, ...]],
    poison: dict[int, float],
    size: int,
) -> None:
    log = small.samples(150)
    for n, x in poison.items():
        log[n] = spoilt(log[n], x)
    with tempfile.TemporaryDirectory() as folder:
        feed = Feed(embedded_store, first, Path(folder) / "registry", log, SHARDS)
        role = feed.learner(size)
        then = [[snapshot(embedded_redis, feed.name, shard)] for shard in range(SHARDS)]
        for op, *how in ops:
            if op == "state":
                role._states._learned_s = LONG_S
                continue
            if op in ("restart", "stop"):
                if op == "stop":
                    role.keep()
                    assert role._states.newest == feed.registry.last(COMMITS)
                role._states.settle()
                role = feed.learner(size)
                continue
            shard, count = how
            if op == "back":
                del then[shard][max(1, len(then[shard]) - count) :]  # a store goes back on its own history only
                put_back(embedded_redis, then[shard][-1])
            else:
                feed.join(shard, count)
            if op == "learn":
                role.step(1)
                feed.check_trim()
            then[shard].append(snapshot(embedded_redis, feed.name, shard))
        feed.finish(role)
        feed.check_trim()
        feed.check_position()
        feed.check(role, [log[n].id for n in poison])
        event(f"{sum(bool(read(feed.registry, n).void) for n in range(feed.registry.last(COMMITS) + 1))} voids")
