"""A registry that was lost with its disk: a copy of an earlier moment and the log lead to where it was, with an empty
store and no other.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.registry.backup import back_up
from deploy.registry.kinds import COMMITS
from deploy.registry.registry import Registry
from deploy.run.restore import check_ours
from streams.errors import ShadowstreamError, StoreRefused
from streams.join.store import Store
from tests import small
from tests.learned import Fed
from tests.services.redis import Server


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A store of the test's own, to be emptied."""
    server = Server("valkey", tmp_path)
    server.ready()
    yield server
    server.stop()


def test_a_copy_and_the_log_lead_to_where_it_was(fed: Fed, server: Server) -> None:
    store = Store(server.address)
    feed = fed(small.samples(300), 2, store)
    folder, copy = feed.registry.folder, feed.registry.folder.parent / "copy" / feed.registry.folder.name
    role = feed.learner(20)
    for upto in (60, 120):
        for shard in (0, 1):
            feed.join(shard, upto)
        while role.step(1):
            pass
        copied = back_up(folder, copy)
    for shard in (0, 1):
        feed.join(shard, 100)
    while role.step(1):
        pass
    assert feed.registry.last(COMMITS) > copied.commit
    shutil.rmtree(folder)
    shutil.copytree(copy, folder)
    feed.registry = Registry(folder)
    assert feed.registry.last(COMMITS) == copied.commit
    assert feed.restore() == {}  # the store is there, and further than the copy
    check_ours(store, feed.registry, feed.name, 2)
    other = Registry(copy.parent / "other")
    with pytest.raises(StoreRefused, match=r"taken from shard 0, and the registry at .*other has learned none"):
        check_ours(store, other, feed.name, 2)
    behind = feed.learner(20)
    with pytest.raises(ShadowstreamError, match="holds no position of any commit"):
        behind.step(1)
    server.redis.flushall()
    check_ours(store, other, feed.name, 2)
    assert sorted(feed.restore()) == [0, 1]
    role = feed.learner(20)
    feed.finish(role)
    feed.check(role)
    store.close()
