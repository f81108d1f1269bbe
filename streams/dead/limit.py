"""Writes dead letters, at most so many in a minute, so that a flood of refused records fills no disk.

Owns the limit, and what becomes of the rest: refused positions are held, by partition and kind of reason, until a
letter sums them up. What is held is a text that the caller keeps where it keeps its position, so that a crash loses
none; only when nothing is held any more does the text become empty. Does not know where that is.
"""

import time
from collections.abc import Callable, Iterable, Sequence

import msgspec

from streams.dead.letters import Letter, StoredLetter, kind_of, position_of, write, write_sum
from streams.kafka import Sink, Tp
from streams.offsets import Offsets

MINUTE_S = 60.0
QUIET_S = 1.0  # held so long before a letter sums up, where nothing comes,
SUM_S = 10.0  # and so long while records come
KINDS = 16  # of reasons that are held apart
REASON_CHARS = 200  # of a kind of reason
OTHER = "other reasons"
TEXT_BYTES = 1 << 14  # of what is held of a partition, before it is summed up
UNLIMITED = 1 << 62

Held = dict[str, Offsets]  # kind of reason to the refused positions without a letter of their own


class DeadLetters:
    """Writes letters to partition 0 of a topic, keyed by position; `clock` is in seconds."""

    def __init__(
        self,
        sink: Sink,
        topic: str,
        most_per_minute: int = UNLIMITED,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sink, self._tp = sink, Tp(topic, 0)
        self._most, self._clock = most_per_minute, clock
        self._began, self._written = clock(), 0  # of the minute: when, and how many letters
        self._since: dict[Tp, float] = {}  # when something was first held of a partition
        self.queued = False

    def put(self, letters: Iterable[Letter]) -> None:
        """Queue letters, each whatever the limit; only `flush` ensures that they were written."""
        for letter in letters:
            self._send(*write(letter, self._sink.limit_bytes(self._tp.topic)))

    def limited(self, tp: Tp, letters: Sequence[Letter], held: str = "", wait_s: float = SUM_S) -> str:
        """Queue a partition's letters as far as the limit goes; return what is held of it now, for the caller to keep.

        `held` is what this has returned before. What was held for `wait_s` is summed up; call it without letters, too.
        """
        if not letters and not held:
            return ""
        rest = [letter for letter in letters if not self._allowed(letter)]
        if not rest and not held:
            return ""
        now, sums = self._clock(), unpack(held)
        for letter in rest:
            _hold(sums, letter)
        text, waited = pack(sums), now - self._since.setdefault(tp, now)
        if waited < wait_s and len(text) <= TEXT_BYTES:
            return text
        del self._since[tp]
        for reason, offsets in sums.items():
            for letter_ in write_sum(tp, reason, offsets, self._sink.limit_bytes(self._tp.topic)):
                self._send(*letter_)
        return ""

    def flush(self) -> None:
        """Wait until the broker has acknowledged every letter."""
        self.queued = False
        self._sink.flush()

    def _allowed(self, letter: Letter) -> bool:
        """Write a letter if the minute has room for it; return whether it had."""
        now = self._clock()
        if now - self._began >= MINUTE_S:
            self._began, self._written = now, 0
        if self._written >= self._most:
            return False
        self._written += 1
        self.put([letter])
        return True

    def _send(self, key: bytes, value: bytes | None, t_ms: int, headers: list[tuple[str, bytes]]) -> None:
        self.queued = True
        self._sink.send(self._tp, key=key, value=value, t_ms=t_ms, headers=headers)


def pack(held: Held) -> str:
    """Return what is held as text; empty where that is nothing."""
    return msgspec.json.encode({kind: offsets.pack() for kind, offsets in held.items()}).decode() if held else ""


def unpack(text: str) -> Held:
    """Return what a text of `pack` holds."""
    texts = msgspec.json.decode(text, type=dict[str, str]) if text else {}
    return {kind: Offsets.unpack(packed) for kind, packed in texts.items()}


def held_letters(tp: Tp, text: str, at_ms: int) -> list[StoredLetter]:
    """Return what is held of a partition as the letters that will sum it up."""
    return [
        StoredLetter(
            position_of(tp, offsets.first), tp, offsets.first, offsets.last + 1, reason, at_ms, offsets=offsets
        )
        for reason, offsets in unpack(text).items()
    ]


def _hold(sums: Held, letter: Letter) -> None:
    kind = kind_of(letter.reason)[:REASON_CHARS].encode(errors="replace").decode()
    if kind not in sums and len(sums) >= KINDS:
        kind = OTHER
    sums.setdefault(kind, Offsets()).add(letter.start, letter.end)
