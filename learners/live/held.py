"""What the log tells of predictions, and outcomes that are kept until their time, in the order in which they are due.

Owns the queue. Its order depends on what is in it alone: when each is due and was asked, and its id; not on when it
came. Does not know what is done when the time comes.
"""

from collections import Counter
from collections.abc import Sequence
from enum import IntEnum
from heapq import heapify, heappop, heappush
from math import nan, sqrt
from typing import Any, NamedTuple

import msgspec
import torch
from torch import Tensor

from streams.events import Target

SECOND_MS = 1_000


class Asked(NamedTuple):
    """A prediction as it was recorded: what each expert said then, and the `answer` of all, as logits; NaN for none."""

    id: str
    t_ms: int
    row: Any
    logits: tuple[float, ...]
    answer: float = nan


class Told(NamedTuple):
    """The outcome of a prediction, which came at `at_ms`; `again` after its window's end was taken for one."""

    asked: Asked
    at_ms: int
    label: Target
    weight: float = 1.0
    again: bool = False


class Waits(NamedTuple):
    """A prediction that reached one of the chain's marks, at `at_ms`, without an outcome."""

    asked: Asked
    at_ms: int
    mark: int


class Unsaid(NamedTuple):
    """An outcome of a prediction of `t_ms` came at `at_ms`, and nobody is to learn which."""

    t_ms: int
    at_ms: int


class Heard(NamedTuple):
    """All that was up to `at_ms` was told: outcomes, and who waited."""

    at_ms: int


class Census(NamedTuple):
    """All that was up to `at_ms` was told, and how many predictions were asked by then, ever.

    `window_ms` after a prediction its outcome counts no more.
    """

    at_ms: int
    asked: int
    window_ms: int


class Due(IntEnum):
    """What an outcome is due for."""

    CHAIN = 0  # the chain, at a mark: an outcome, or NaN for none yet
    EVIDENCE = 1
    LESSON = 2  # evidence, and the experts have yet to learn it


class Entry(NamedTuple):
    """An outcome that is held, with the mark of CHAIN."""

    due_ms: int
    t_ms: int
    id: str
    why: Due
    mark: int
    order: int  # of arrival, where all before is equal: an id that was told twice
    told: Told

    @property
    def age_ms(self) -> int:
        """How old the prediction is when this is due; all of a second count as asked at its end."""
        return self.due_ms - _second(self.t_ms)


def _second(t_ms: int) -> int:
    """Return when the second of a time ends."""
    return t_ms + SECOND_MS - t_ms % SECOND_MS


def alike(entries: Sequence[Entry]) -> list[int]:
    """Return of each how many equal rows, it among them, were asked within its second and are due with it.

    They are mostly one decision, such as a group's booking, so n of them count as √n.
    """
    moments = [(entry.due_ms, entry.t_ms // SECOND_MS, entry.mark) for entry in entries]
    if len(set(moments)) == len(moments):
        return [1] * len(moments)
    keys = [
        (*moment, msgspec.msgpack.encode(entry.told.asked.row)) for moment, entry in zip(moments, entries, strict=True)
    ]
    equal = Counter(keys)
    return [equal[key] for key in keys]


def shared(passed: Sequence[Entry]) -> list[tuple[Told, int]]:
    """Return what passes marks at some moments, whole moments, for the chain: of each those that wait first."""
    # NaN, which is no label, is not itself
    order = sorted(passed, key=lambda entry: (entry.due_ms, entry.told.label == entry.told.label))
    return [
        (entry.told if equal == 1 else entry.told._replace(weight=entry.told.weight / sqrt(equal)), entry.mark)
        for entry, equal in zip(order, alike(order), strict=True)
    ]


class Held:
    """The queue. `features` is the type of the rows."""

    def __init__(self, features: Any) -> None:
        self._features, self._heap, self._order = features, list[Entry](), 0

    def __len__(self) -> int:
        return len(self._heap)

    def hold(self, due_ms: int, why: Due, told: Told, mark: int = 0) -> None:
        """Keep an outcome until it is due; what was asked within a second, and waits as long, is due together."""
        self._order += 1
        due_ms += _second(told.asked.t_ms) - told.asked.t_ms
        heappush(self._heap, Entry(due_ms, told.asked.t_ms, told.asked.id, why, mark, self._order, told))

    def due(self, now_ms: int) -> Entry | None:
        """Take out what is due first, if it was due before now: all that comes at one time is held by then."""
        return heappop(self._heap) if self._heap and self._heap[0].due_ms < now_ms else None

    def clear(self) -> None:
        """Forget all that is kept."""
        self._heap, self._order = [], 0

    def part(self, why: Due) -> list[Entry]:
        """Take out all that is due for this."""
        taken = [entry for entry in self._heap if entry.why is why]
        self._heap = [entry for entry in self._heap if entry.why is not why]
        heapify(self._heap)
        return taken

    def take(self, entries: Sequence[Entry]) -> None:
        """Keep entries of another queue."""
        self._heap += entries
        self._order = max([self._order, *(entry.order for entry in entries)])
        heapify(self._heap)

    def state(self) -> dict[str, Tensor]:
        """Return the queue with its rows, as bytes."""
        packed = msgspec.msgpack.encode([self._order, sorted(self._heap)])
        return {"queue": torch.frombuffer(bytearray(packed), dtype=torch.uint8)}

    def load(self, state: dict[str, Tensor]) -> None:
        """Go on from a state."""
        packed = state["queue"].numpy().tobytes()
        self._order, entries = msgspec.msgpack.decode(packed, type=tuple[int, list[Entry]])
        self._heap = [self._with_row(entry) for entry in entries]
        heapify(self._heap)

    def _with_row(self, entry: Entry) -> Entry:
        return entry._replace(told=with_row(entry.told, self._features))


def with_row(told: Told, features: Any) -> Told:
    """Return an outcome whose row, as it was packed, is of the type `features` again."""
    return told._replace(asked=told.asked._replace(row=msgspec.convert(told.asked.row, features)))
