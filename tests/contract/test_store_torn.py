"""A shard that lost a part, or has half a step: it is refused, because its counters cannot be right."""

import pytest

from streams.errors import StoreRefused
from tests.contract.stores import CANNOT, Stage, join, look, pairs, timeless
from tests.contract.test_store import answers, insist
from tests.services.redis import until


@pytest.mark.parametrize("key", "ewg")
def test_a_shard_that_lost_one_of_its_keys_is_seen(stage: Stage, key: str) -> None:
    """Found by chaos, seed 11: a node went back to amid a slot's migration; 140 waiting predictions never closed."""
    feed = stage.feed()
    state = join(stage.store, feed, 0, 3)
    step = pairs(state, 3)
    step.which, step.times = step.which[:1], step.times[:1]
    step.ids, step.items, step.bodies = step.ids[:1], step.items[:1], step.bodies[:1]
    state = timeless(stage.store.step(feed, 0, step))  # one prediction waits
    stage.place.node_of(feed, 0).redis.delete(f"{{{feed}.0}}:{key}")
    with pytest.raises(
        StoreRefused, match=rf"BROKEN .*{feed}\.0.*: steps, entries, windows and markers were 2 4 4 3 and are"
    ):
        stage.store.step(feed, 0, pairs(state, 1))


def test_samples_of_half_a_step_are_seen_and_not_trimmed_to(stage: Stage) -> None:
    """Found by chaos, seed 5: a reader had taken samples of half a step, and the refusal did not name the shard."""
    feed = stage.feed()
    state = join(stage.store, feed, 0, 3)
    ahead = f"{state.seq + 2}-7"
    samples = {str(state.seq + n): "{}" for n in (1, 2)}
    stage.place.node_of(feed, 0).redis.xadd(f"{{{feed}.0}}:s", samples, id=ahead)  # type: ignore[arg-type]
    stage.store.trim(feed, 0, ahead)
    assert look(stage.store, feed, 0).unread == state.unread == 3
    with pytest.raises(StoreRefused, match=rf"BROKEN .*{feed}\.0.*: the stream does not end at sample {state.seq}"):
        stage.store.step(feed, 0, pairs(state, 1))


def test_a_log_torn_amid_a_step_and_read_twice_is_seen(stage: Stage) -> None:
    """Found by chaos, seed 12: Redis 7.0 drops the half step but leaves its MULTI; a second start applies a part."""
    feed = stage.feed()
    state = join(stage.store, feed, 0, 5)
    node = stage.place.node_of(feed, 0)
    node.kill()
    log = max((node.folder / "store").rglob("*.incr.aof"), key=lambda path: path.stat().st_mtime)
    with log.open("ab") as file:
        file.write(b"*1\r\n$5\r\nMULTI\r\n" + counted(f"{{{feed}.0}}:m") + b"*3\r\n$5\r\nRPUS")
    for expected in (state.seq, state.seq + 5):
        node.start()
        stage.place.ready()
        until(lambda: answers(stage.store, feed))
        assert look(stage.store, feed, 0).seq == expected
        if expected == state.seq:
            insist(stage.store, feed, 0, pairs(state, 5))
            node.kill()
    step = pairs(stage.store.shard(feed, 0), 5)
    if "torn" in CANNOT[stage.name]:
        with pytest.raises(StoreRefused, match="BROKEN"):
            stage.store.step(feed, 0, step)
    else:
        assert stage.store.step(feed, 0, step).counters["waiting"] == 0


def counted(key: str) -> bytes:
    """Return the command with which every step begins, as the store's log has it."""
    words = [b"HINCRBY", key.encode(), b"steps", b"1"]
    return b"*4\r\n" + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)
