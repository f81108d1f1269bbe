"""Which run has a feed, on every store: one note that counts for a while by the store's clock."""

from redis import Redis

from streams.join.store import Store
from tests.contract.stores import Stage

COUNTS_MS = 60_000


def test_one_run_has_a_feed_until_it_leaves_or_is_taken_over(stage: Stage) -> None:
    feed, store = stage.feed(), stage.store
    assert store.claim(feed, "a", b"run a", COUNTS_MS) is None
    assert store.claim(feed, "a", b"run a", COUNTS_MS) is None
    rival = store.claim(feed, "b", b"run b", COUNTS_MS)
    assert rival is not None
    assert (rival.note, 0 <= rival.age_ms < COUNTS_MS) == (b"run a", True)
    assert store.claim(feed, "b", b"run b", COUNTS_MS, take=True) is None
    lost = store.claim(feed, "a", b"run a", COUNTS_MS)
    assert lost is not None
    assert lost.note == b"run b"
    store.leave(feed, "a")  # it is not ours any more
    assert store.claim(feed, "a", b"run a", COUNTS_MS) is not None
    store.leave(feed, "b")
    assert store.claim(feed, "a", b"run a", COUNTS_MS) is None


def test_a_note_that_is_too_old_counts_no_more(stage: Stage) -> None:
    feed, store = stage.feed(), stage.store
    store.claim(feed, "a", b"run a", COUNTS_MS)
    assert store.claim(feed, "b", b"run b", 0) is None
    rival = store.claim(feed, "a", b"run a", COUNTS_MS)
    assert rival is not None
    assert rival.note == b"run b"


def test_a_claim_leaves_the_rest_of_the_board(embedded_store: Store, embedded_redis: Redis) -> None:
    embedded_store.put("board", {"server": b"1"})
    embedded_store.claim("board", "a", b"run a", COUNTS_MS)
    embedded_store.leave("board", "a")
    assert embedded_redis.hkeys("{board}:board") == [b"server"]
