"""The learner under any course of events: shards that go back in time, poison, restarts; then everything was learned
once, the equations hold, and the state is what its history makes."""

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis

from streams.store import Store
from tests import small
from tests.learned import BAD, LARGE, Feed, begun, put_back, snapshot, spoilt

SHARDS = 2
OPS = st.one_of(
    st.tuples(st.just("join"), st.integers(0, SHARDS - 1), st.integers(1, 40)),
    st.tuples(st.just("step")),
    st.tuples(st.just("keep"), st.integers(0, SHARDS - 1)),
    st.tuples(st.just("back"), st.integers(0, SHARDS - 1)),
    st.tuples(st.just("restart")),
)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return begun(tmp_path_factory.mktemp("first"))


@given(
    ops=st.lists(OPS, max_size=25),
    poison=st.dictionaries(st.integers(0, 149), st.sampled_from([BAD, LARGE]), max_size=3),
    size=st.integers(1, 40),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
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
        then = {shard: snapshot(embedded_redis, feed.name, shard) for shard in range(SHARDS)}
        for op, *how in ops:
            if op == "join":
                feed.join(*how)
            elif op == "step":
                role.step(1)
                feed.check_trim()
            elif op == "keep":
                then[how[0]] = snapshot(embedded_redis, feed.name, how[0])
            elif op == "back":
                put_back(embedded_redis, then[how[0]])
            else:
                role = feed.learner(size)
        feed.finish(role)
        feed.check_trim()
        feed.check(role, [log[n].id for n in poison])
