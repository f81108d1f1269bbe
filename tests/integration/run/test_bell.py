"""Who waits for a note is woken by whoever puts it, on every store; who may not hear looks again soon."""

import secrets
import time
from collections.abc import Iterator
from contextlib import closing
from threading import Thread

import pytest
from redis import Redis

from streams.join.store import Store
from tests.conftest import Running

HANG_MS = 60_000


@pytest.fixture
def store(store_server: Running) -> Iterator[Store]:
    with closing(Store(store_server.address)) as made:
        yield made


def test_a_note_wakes_who_waits_for_it_and_nobody_else(store: Store, store_server: Running) -> None:
    feed, woken = secrets.token_hex(4), list[bool]()
    assert store.doze(feed, ("learner", "live"), HANG_MS), "the first look comes at once"
    waits = Thread(target=lambda: woken.append(store.doze(feed, ("learner", "live"), HANG_MS)))
    waits.start()
    with closing(Store(store_server.address)) as other:
        other.put(feed, {"server": b"1"})
        other.put(secrets.token_hex(4), {"learner": b"1"})
        waits.join(0.1)
        assert waits.is_alive()
        other.put(feed, {"blocks": b"", "learner": b"1"})
        waits.join(HANG_MS / 1_000)
    assert woken == [True]


def test_what_was_put_meanwhile_is_heard_at_once_and_then_no_more(store: Store) -> None:
    feed, heard = secrets.token_hex(4), 0
    store.doze(feed, ("learner",), HANG_MS)
    for _ in range(3):
        store.put(feed, {"learner": b"1"})
    assert store.doze(feed, ("learner",), HANG_MS)
    while store.doze(feed, ("learner",), 1):
        heard += 1
    assert heard <= 2, "what comes together wakes once"


def test_a_user_who_may_not_publish_puts_notes_all_the_same_and_looks_again_soon(store_server: Running) -> None:
    feed, name = secrets.token_hex(4), secrets.token_hex(4)
    with Redis.from_url(store_server.address) as admin:
        admin.execute_command(
            "ACL", "SETUSER", name, "on", ">secret", "~{*}:*", "resetchannels",
            *["+eval", "+evalsha", "+hmget", "+hdel", "+hincrby", "+hset", "+ltrim", "+rpush", "+xadd", "+xtrim"],
        )  # fmt: skip
        at = store_server.address.replace("redis://", f"redis://{name}:secret@")
        with closing(Store(at)) as store:
            store.put(feed, {"learner": b"1"})
            assert store.get(feed, "learner") == [b"1"]
            began = time.monotonic()
            for _ in range(2):
                assert store.doze(feed, ("learner",), HANG_MS)
            assert time.monotonic() - began < HANG_MS / 2_000
        admin.acl_deluser(name)
