"""The limit of dead letters: whatever comes, whoever dies, each refused position is in a letter, and these are few."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.dead import Letter, Refused, reasons, refusals
from streams.dead.limit import KINDS, OTHER, SUM_S, DeadLetters, held_letters, unpack
from streams.events import Record
from streams.kafka import Tp
from streams.offsets import Offsets

MINUTES = 10
TP, DEAD = Tp("bad/topic", 3), Tp("dead", 0)


class Topic:
    """What a sink has of the dead letters' topic: what was sent, and what was acknowledged."""

    def __init__(self, limit: int = 1 << 20) -> None:
        self.limit, self.sent = limit, list[Record]()
        self.there: list[Record] = []

    def limit_bytes(self, topic: str) -> int:
        return self.limit

    def send(self, tp: Tp, *, key: bytes, value: bytes | None, t_ms: int, headers: Sequence[tuple[str, bytes]]) -> None:
        self.sent.append(Record(*tp, 0, 0, t_ms, key, value, tuple(headers)))

    def flush(self) -> None:
        self.there, self.sent = self.there + self.sent, []


class Joiner:
    """A joiner as far as letters go: it holds what the store gave it, and both move on together, or not at all."""

    def __init__(self, most: int, limit: int = 1 << 20) -> None:
        self.topic, self.most, self.now = Topic(limit), most, 0.0
        self.next, self.held, self.rejected, self.log = 0, "", list[int](), list[str | None]()
        self.start()

    def start(self) -> None:
        self.dead = DeadLetters(self.topic, DEAD.topic, self.most, lambda: self.now)  # type: ignore[arg-type]

    def step(self, bad: Sequence[bool], reason: str, *, dies: str = "") -> None:
        """Handle new records, of which some are bad; see `read` for the rest."""
        self.log += [reason if one else None for one in bad]
        self.read(len(bad), dies=dies)

    def read(self, count: int, *, dies: str = "") -> None:
        """Handle so many of the log's records; die before the letters are acknowledged, or before the step."""
        end = min(self.next + count, len(self.log))
        offsets = [offset for offset in range(self.next, end) if self.log[offset]]
        record = Record(*TP, 0, 0, 0, None, b"x" * 9)
        letters = [Letter(TP, offset, offset + 1, f"{self.log[offset]} {offset}", record) for offset in offsets]
        held = self.dead.limited(TP, letters, self.held)
        if dies == "before letters":
            self.topic.sent = []
            return self.start()
        self.dead.flush()
        if dies == "before step":
            return self.start()
        self.next, self.held, self.rejected = end, held, self.rejected + offsets
        return None

    def rest(self) -> None:
        self.held = self.dead.limited(TP, [], self.held, 1.0)
        self.dead.flush()

    def check(self) -> None:
        """Check that every position that was counted is in a letter or held, and no other."""
        found = refusals(self.topic.there, held_letters(TP, self.held, 0))
        assert sum(one.positions for one in found.values()) == sum(reasons(found.values()).values())
        covered = sorted(offset for one in found.values() for offset in one.letter.covers)
        assert len(covered) == len(set(covered)), "a position is in two letters that both count"
        assert {offset for offset in covered if offset < self.next} == set(self.rejected)
        refused = Refused(found.values())
        assert all(f"bad/topic/3/{offset}" in refused for offset in self.rejected)


RECORDS = st.lists(st.sampled_from([None, None, "not JSON", "too late", "no id"]), max_size=200)
STEP = st.tuples(
    st.integers(0, 60),
    st.sampled_from(["", "", "", "before letters", "before step"]),
    st.sampled_from([0.0, 0.1, 5.0, 11.0, 70.0]),
)


@settings(max_examples=300, deadline=None)
@given(RECORDS, st.lists(STEP, max_size=25), st.integers(1, 5), st.sampled_from([2_048, 1 << 20]))
def test_every_refused_position_is_in_a_letter_or_held_whoever_dies(
    log: list[str | None], steps: list[tuple[int, str, float]], most: int, limit: int
) -> None:
    joiner = Joiner(most, limit)
    joiner.log = log
    for count, dies, later in steps:
        joiner.read(count, dies=dies)
        joiner.check()
        joiner.now += later
    for _ in range(2):
        joiner.now += SUM_S
        joiner.rest()
    assert joiner.held == ""
    joiner.check()


@pytest.mark.parametrize("every", [1, 2, 7])
def test_a_flood_of_many_minutes_makes_few_letters(every: int) -> None:
    joiner = Joiner(100)
    for _ in range(MINUTES * 60):
        joiner.step([n % every == 0 for n in range(50)], "bad")
        joiner.now += 1.0
    joiner.now += SUM_S
    joiner.rest()
    joiner.check()
    assert len(joiner.topic.there) <= (MINUTES + 1) * 100 + MINUTES * 60 / SUM_S + 2
    summed = [record for record in joiner.topic.there if dict(record.headers).get("count")]
    assert len(summed) <= MINUTES * 60 / SUM_S + 2
    assert sum(len(record.value or b"") + len(str(record.headers)) for record in summed) < 20_000


def test_a_letter_that_sums_up_says_reason_first_and_last_position_and_count() -> None:
    joiner = Joiner(1)
    joiner.step([True] * 5 + [False, True], "not JSON: at byte")
    assert len(joiner.topic.there) == 1
    assert joiner.held
    joiner.now += 1.0
    joiner.rest()
    (letter,) = joiner.topic.there[1:]
    headers = dict(letter.headers)
    assert (letter.key, headers["reason"], headers["count"], headers["end"]) == (
        b"bad/topic/3/1", "not JSON: at byte …".encode(), b"5", b"7",
    )  # fmt: skip
    assert list(Offsets.unpack(headers["offsets"])) == [1, 2, 3, 4, 6]


def test_reasons_without_end_are_held_under_few_names() -> None:
    joiner = Joiner(1)
    for n in range(100):
        joiner.step([True], f"reason {'abcdefghij'[n // 10]}{'abcdefghij'[n % 10]}")
    held = unpack(joiner.held)
    assert len(held) == KINDS + 1
    assert len(held[OTHER]) == 99 - KINDS
    joiner.check()


def test_a_minute_later_letters_are_whole_again() -> None:
    joiner = Joiner(2)
    joiner.step([True] * 5, "a")
    joiner.now = 59.9
    joiner.step([True] * 5, "b")
    assert sum(1 for record in joiner.topic.there if record.value) == 2
    joiner.now = 60.0
    joiner.step([True] * 5, "c")
    assert sum(1 for record in joiner.topic.there if record.value) == 4
