"""Which fields of the features have changed, and whether the answers have: how far blocks of samples are from others.

A block is compared with the one two before it and with the last 20, and the lesser distance counts: it differs from
what has just been and from what is usual. Per field:

- distance: Kolmogorov and Smirnov's for numbers (the largest difference between two distribution functions), total
  variation for categories (half the sum of the differences between shares);
- missing: the difference between the shares without a number;
- new: the share of values that were not there before, as in another unit, or under another name.

A field is named where artanh(distance) exceeds 3.5 times its root mean square over past blocks, so that what always
changes, as weather does, is not. Owns distances and levels. Does not know models or files, or what follows from a
change.
"""

from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from msgspec import Struct

from learners.live.features.fields import Fields
from learners.live.features.reader import Reader
from learners.live.features.rows import Doubles, Ints, UInts
from learners.resumed import Resumed

BLOCK = 5_000  # samples; of 2,000 on flights, a block holds two days, and the weather is another one in each
WINDOW, THINNED = 20, 10  # blocks that are compared with, and every how many of their values are kept
APART = 2  # blocks: a change within one is whole in the next
WARM_UP, PAST = 6, 100  # distances before the first change is named, and those that are remembered
TIMES = 3.5  # the usual distance; on flights 3 names seven changes a year, 4 misses a half of what was injected
KINDS = ("distance", "missing", "new")
LEAST = {"number": (0.1, 0.02, 0.5), "category": (0.1, 0.02, 0.02)}  # summer brings temperatures that spring lacked
POINTS, BUCKETS = 256, 256  # where distribution functions are compared; tokens share buckets
SERVED = "served"


class Change(Struct, frozen=True):
    """A field that changed: its `distance` in the block that begins at `since_ms`, and what was usual `before`.

    `what` is one of `KINDS`. The field "served" is what was answered: the output, or which of several is the largest.
    """

    field: str
    what: str
    distance: float
    before: float
    since_ms: int


class Block(NamedTuple):
    """N samples: their times, and each number's and category's values, sorted once the block is whole."""

    t_ms: Ints  # (N,)
    numbers: Doubles  # (numbers, N), NaN at the end
    tokens: UInts  # (categories, N)

    def part(self, part: slice) -> "Block":
        """Return a copy of some of the samples, so that the others are not kept."""
        return Block(self.t_ms[part].copy(), self.numbers[:, part].copy(), self.tokens[:, part].copy())

    def ordered(self) -> "Block":
        """Return the values sorted."""
        return Block(self.t_ms, np.sort(self.numbers), np.sort(self.tokens))


class DriftState(Struct):
    """The blocks that are compared with, and what was found."""

    _waiting: list[Block]
    _blocks: list[Block]
    _window: list[Block]
    _past: list[Doubles]
    _changed: dict[int, tuple[int, Change]]
    _taken: int


class Drift(Resumed):
    """Takes samples in the order of commits, however they are cut; keeps two blocks, and every tenth value of 20."""

    State = DriftState

    def __init__(self, fields: Fields) -> None:
        """`fields` are those that are watched, beside what was answered."""
        self._reader = Reader(fields._replace(texts=(), strings=frozenset()))
        self._waiting: list[Block] = []
        self._blocks: deque[Block] = deque(maxlen=APART)
        self._window: deque[Block] = deque(maxlen=WINDOW)
        self._past: deque[Doubles] = deque(maxlen=PAST)  # artanh of distances, (3, fields) each
        self._changed: dict[int, tuple[int, Change]] = {}  # by field: in which block, and what
        self._taken = 0

    @property
    def changes(self) -> list[Change]:
        """The newest change of each field that has one, the newest first."""
        return sorted((change for _, change in self._changed.values()), key=lambda one: (-one.since_ms, one.field))

    def add(self, rows: Sequence[Any], t_ms: Sequence[int], answers: Doubles) -> None:
        """Take N samples' features, the times of their predictions, and what was answered, shape (N, K)."""
        read = self._reader.read(rows)
        numbers, tokens = read.numbers.T, read.tokens.T
        if answers.shape[1] == 1:
            numbers = np.vstack([numbers, answers.T])
        else:
            tokens = np.vstack([tokens, answers.argmax(axis=1).astype(np.uint32)])
        self._waiting.append(Block(np.array(t_ms), numbers, tokens))
        while sum(len(part.t_ms) for part in self._waiting) >= BLOCK:
            whole = _joined(self._waiting)
            self._waiting = [whole.part(slice(BLOCK, None))]
            self._take(whole.part(slice(BLOCK)).ordered())

    def _take(self, block: Block) -> None:
        if len(self._blocks) == APART:
            usual = _joined(list(self._window)).ordered()
            self._judge(block, np.minimum(distances(block, self._blocks[0]), distances(block, usual)))
        self._blocks.append(block)
        self._window.append(block.part(slice(None, None, THINNED)))
        self._taken += 1

    def _judge(self, block: Block, far: Doubles) -> None:
        """Name the fields that are farther, (3, fields), than usual, and remember at most what is not named."""
        moved = np.arctanh(np.minimum(far, 1 - 1 / BLOCK))
        if len(self._past) >= WARM_UP:
            usual = np.sqrt(np.mean(np.square(self._past), axis=0))
            level = np.maximum(TIMES * usual, self._least(block))
            for field in np.flatnonzero((moved > level).any(axis=0)).tolist():
                kind = int((moved / level)[:, field].argmax())
                self._name(field, kind, float(far[kind, field]), float(np.tanh(usual[kind, field])), block)
            moved = np.minimum(moved, level)
        self._past.append(moved)

    def _name(self, field: int, kind: int, distance: float, before: float, block: Block) -> None:
        taken, _ = self._changed.get(field, (-APART - 1, None))
        if self._taken - taken > APART:
            change = Change(self._names(block)[field], KINDS[kind], distance, before, int(block.t_ms[0]))
            self._changed[field] = (self._taken, change)

    def _least(self, block: Block) -> Doubles:
        sorts = [LEAST["number"]] * len(block.numbers) + [LEAST["category"]] * len(block.tokens)
        return np.array(sorts).T

    def _names(self, block: Block) -> list[str]:
        fields = self._reader.fields
        both = (fields.numbers, len(block.numbers)), (fields.categories, len(block.tokens))
        return [name for names, count in both for name in (*names, SERVED)[:count]]


def distances(ours: Block, theirs: Block) -> Doubles:
    """Return how far each field's values are from others, both sorted, by each of `KINDS`: (3, fields)."""
    numbers = [_of_numbers(a, b) for a, b in zip(ours.numbers, theirs.numbers, strict=True)]
    return np.array(numbers + [_of_tokens(a, b) for a, b in zip(ours.tokens, theirs.tokens, strict=True)]).T


def _of_numbers(ours: Doubles, theirs: Doubles) -> tuple[float, float, float]:
    points = np.concatenate([values[:: max(1, len(values) // POINTS)] for values in (ours, theirs)])
    ranks = [np.searchsorted(values, points) / len(values) for values in (ours, theirs)]
    missing = [float(np.isnan(values).mean()) for values in (ours, theirs)]
    new = _new(ours, theirs) - missing[0]  # NaN is equal to nothing
    return float(abs(ranks[0] - ranks[1]).max()), abs(missing[0] - missing[1]), new


def _of_tokens(ours: UInts, theirs: UInts) -> tuple[float, float, float]:
    shares = [np.bincount(values % BUCKETS, minlength=BUCKETS) / len(values) for values in (ours, theirs)]
    return float(abs(shares[0] - shares[1]).sum() / 2), 0.0, _new(ours, theirs)


def _new(ours: Doubles | UInts, theirs: Doubles | UInts) -> float:
    """Return the share of values that are not among others, both sorted."""
    at = np.searchsorted(theirs, ours).clip(max=len(theirs) - 1)
    return float((theirs[at] != ours).mean())


def _joined(blocks: list[Block]) -> Block:
    return Block(*(np.concatenate(values, axis=-1) for values in zip(*blocks, strict=True)))
