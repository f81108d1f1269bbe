"""A role that follows the registry: it notes what a record changed, and nothing while it waits."""

from collections.abc import Sequence
from typing import cast

from deploy.registry.follow import Follower
from streams.join.store import Store


class Board:
    """Keeps what is put on it."""

    def __init__(self) -> None:
        self.notes: list[dict[str, bytes]] = []
        self.waits_ms: list[float] = []

    def put(self, feed: str, notes: dict[str, bytes]) -> None:
        assert feed == "a feed"
        self.notes.append(notes)

    def doze(self, feed: str, names: Sequence[str], block_ms: float) -> None:
        assert (feed, tuple(names)) == ("a feed", ("learner",))
        self.waits_ms.append(block_ms)


class Counting(Follower):
    """Takes `records`, each of which says whether it changes the note; `late` is noted whenever it comes."""

    def __init__(self, board: Board, records: list[bool]) -> None:
        super().__init__("a feed", cast(Store, board), ["learner"])
        self.records, self.count, self.late = records, 0, b""

    def _take(self) -> bool:
        if not self.records:
            return False
        self.count += self.records.pop(0)
        return True

    def _notes(self) -> dict[str, bytes]:
        return {"count": b"%d" % self.count, "late": self.late}


def test_it_takes_the_next_record_or_waits_and_notes_what_has_changed() -> None:
    board = Board()
    role = Counting(board, [True, False, True])
    assert [role.step(20) for _ in range(5)] == [True, True, True, False, False]
    assert board.waits_ms == [20, 20]
    role.late = b"metrics"  # of a record that was taken before
    role.step(20)
    assert [(note["count"], note["late"]) for note in board.notes] == [(b"1", b""), (b"2", b""), (b"2", b"metrics")]
