"""A store with a Sentinel: the master is found, and the next one after it dies. The Sentinel is Valkey's."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from msgspec.structs import replace

from streams.errors import HistoryChanged, StoreRefused, StoreUnreachable
from streams.join.store import Store
from tests.contract.stores import TPS, join, look, numbers, pairs
from tests.contract.test_store import insist
from tests.services.redis import Watched

pytestmark = pytest.mark.long

SECRET = "hunter2"


@pytest.fixture(params=["valkey", "redis"])
def watched(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Watched]:
    made = Watched(request.param, tmp_path, f"requirepass {SECRET}")
    yield made
    made.stop()


def test_the_next_master_is_found_and_what_it_lacks_is_seen(watched: Watched) -> None:
    at = replace(watched.address, sentinel_password=SECRET)
    with closing(Store(at)) as store:
        store.check()
        store.create("feed", 2, TPS)
        kept = join(store, "feed", 0, 5)
        with closing(Store(watched.replica.address)) as follower, pytest.raises(StoreUnreachable, match="read only"):
            follower.put("feed", {"a": b"1"})
        assert watched.master.redis.wait(1, 10_000) == 1
        watched.replica.run("REPLICAOF", "NO", "ONE")  # it lags: what comes now never reaches it
        lost = join(store, "feed", 1, 5)
        watched.master.kill()
        with pytest.raises(StoreUnreachable, match="orders of 127"):
            store.shard("feed", 0)
        insist(store, "feed", 0, pairs(kept, 5))
        assert numbers(store, "feed", 0) == [*range(1, 11)]
        assert look(store, "feed", 1).seq == 0
        with pytest.raises(HistoryChanged):
            store.read("feed", 1, lost.last_id, 9)


def test_a_sentinel_that_refuses_us_is_named(watched: Watched) -> None:
    for keys in ({}, {"sentinel_password": f"not {SECRET}"}):
        with closing(Store(replace(watched.address, **keys))) as store, pytest.raises(StoreRefused) as raised:
            store.check()
        assert "check redis.sentinel_username and redis.sentinel_password" in str(raised.value)
        assert SECRET not in str(raised.value)
