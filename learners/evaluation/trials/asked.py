"""The predictions with which no trial has done yet: what every contestant answered, and what is known of their labels.

A look reads them in the order of prediction, which is that of time and id. Owns that order, and when a label counts.
Does not know what is compared.
"""

from bisect import bisect_left
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from learners.evaluation.trials.wealth import Floats
from learners.resumed import Resumed
from streams.events import CORRECTION, NEGATIVE, WAITING, Sample, Target

Ints: TypeAlias = NDArray[np.int64]
Bools: TypeAlias = NDArray[np.bool_]
DAY_MS = 86_400_000
NEVER_MS = 1 << 62
RECENT = 500  # predictions of before a pair began, from whose answers it has its first bound
MOST = 200_000  # predictions after the first that waits, at which a look stops


class Final(NamedTuple):
    """How old a prediction is when its label is settled, in ms.

    A negative may be corrected up to the age `negative_ms`. At the age `without_ms` one that still waits will never
    have a label; None: it will have one, if only a negative's.
    """

    negative_ms: int
    without_ms: int | None


class Look(NamedTuple):
    """N predictions in their order, as they are known at a time.

    `known` (N,): the label counts. `gone` (N,): there will never be one. The first `settled` are either. `said` has the
    answers (N, K) by contestant, NaN from before it was there; `recent` those to what came before. `ends` are the
    indices of the days' last predictions. `slices` are the values of the fields by which losses are told apart.
    """

    t_ms: Ints
    labels: Sequence[Target | None]
    known: Bools
    gone: Bools
    settled: int
    said: Mapping[str, Floats]
    recent: Mapping[str, Floats]
    ends: Ints
    slices: Sequence[Sequence[str]]

    def answers(self, contestant: str) -> Floats:
        """Return what a contestant answered (N, K)."""
        given = self.said.get(contestant)
        if given is not None:
            return given
        width = next((rows.shape[1] for rows in self.said.values()), 1)
        return np.full((len(self.t_ms), width), np.nan)

    def before(self, t_ms: int, one: str, other: str) -> tuple[Floats, Floats]:
        """Return the newest answers of two contestants to predictions before a time that both of them answered."""
        count, none = int(np.searchsorted(self.t_ms, t_ms)), self.answers("")[:0]
        if not (one in self.said and other in self.said):  # one that came after the look's last entry
            return none, none
        ours, theirs = (np.concatenate([self.recent[key], self.said[key][:count]]) for key in (one, other))
        there = np.flatnonzero(np.isfinite(ours).all(axis=1) & np.isfinite(theirs).all(axis=1))[-RECENT:]
        return ours[there], theirs[there]


class AskedState(Struct):
    """The predictions, and what is known of them."""

    _ids: list[str]
    _t_ms: list[int]
    _slices: list[tuple[str, ...]]
    _labels: list[Target | None]
    _known_ms: list[int]
    _gone_ms: list[int]
    _said: list[tuple[int, dict[str, Floats]]]
    _recent: dict[str, Floats]
    _recents: int
    _open: dict[str, int]
    _done_ms: int


class Asked(Resumed):
    """Takes entries of the log with the contestants' answers to them."""

    State = AskedState

    def __init__(self, final: Final) -> None:
        self._final = final
        self._ids, self._t_ms = list[str](), list[int]()
        self._slices = list[Sequence[str]]()
        self._labels, self._known_ms, self._gone_ms = list[Target | None](), list[int](), list[int]()
        self._said: list[tuple[int, dict[str, Floats]]] = []
        self._recent, self._recents = dict[str, Floats](), 0
        self._open: dict[str, int] = {}  # where those are whose label may still come, or change
        self._done_ms = -1

    def add(self, entries: Sequence[Sample], said: Mapping[str, Floats], slices: Sequence[Sequence[str]] = ()) -> None:
        """Take entries in the log's order; `said` are the answers (N, K) by contestant, `slices` N rows of values.

        The first answer to a prediction counts: its label may come in a later entry.
        """
        new = [n for n, entry in enumerate(entries) if not self._known(entry)]
        if new:
            self._slices += [slices[n] if slices else () for n in new]
            self._said.append((len(new), {name: rows[new] for name, rows in said.items()}))

    def look(self, until_ms: int, now_ms: int) -> Look:
        """Return the predictions of before a time, as they are known by the outcomes of up to `now_ms`."""
        self._order(sorted(range(len(self._ids)), key=lambda n: (self._t_ms[n], self._ids[n])))
        count = bisect_left(self._t_ms, until_ms)
        t_ms = np.array(self._t_ms[:count], dtype=np.int64)
        known = np.array(self._known_ms[:count], dtype=np.int64) <= now_ms
        gone = ~known & (np.array(self._gone_ms[:count], dtype=np.int64) <= now_ms)
        waits = np.flatnonzero(~(known | gone))
        settled = int(waits[0]) if len(waits) else count
        ends = np.flatnonzero(np.diff(t_ms // DAY_MS, append=until_ms // DAY_MS))
        read = slice(0, settled + MOST)
        said = {name: rows[:count][read] for name, rows in self._said[0][1].items()}
        ends = ends[ends < settled + MOST]
        recent = {name: self._before(name, rows) for name, rows in said.items()}
        labels, slices = self._labels[:count][read], self._slices[:count][read]
        return Look(t_ms[read], labels, known[read], gone[read], settled, said, recent, ends, slices)

    def drop(self, count: int) -> None:
        """Drop the first so many of the last look: every trial has done with them."""
        if not count:
            return
        self._done_ms, said = self._t_ms[count - 1], self._said[0][1]
        for name, rows in said.items():
            self._recent[name] = np.concatenate([self._before(name, rows), rows[:count]])[-RECENT:]
        self._recents = min(RECENT, self._recents + count)
        self._order(range(count, len(self._ids)))

    def leave(self, contestants: Collection[str]) -> None:
        """Keep the answers of these contestants alone; without one, nothing."""
        self._said = [(n, {name: said[name] for name in contestants if name in said}) for n, said in self._said]
        self._recent = {name: rows for name, rows in self._recent.items() if name in contestants}
        if not contestants:
            self._order(range(0))

    def _known(self, entry: Sample) -> bool:
        """Take what an entry says of a prediction's label; return False if it has not been there."""
        at = self._open.get(entry.id)
        if at is None and (entry.kind == CORRECTION or (entry.kind == WAITING and entry.t <= self._done_ms)):
            return True  # of a prediction with which all have done
        if at is not None and entry.kind == WAITING:
            return True
        here = len(self._ids) if at is None else at
        if at is None:
            self._ids.append(entry.id)
            self._t_ms.append(entry.t)
            self._labels.append(None)
            self._known_ms.append(NEVER_MS)
            without_ms = self._final.without_ms
            self._gone_ms.append(NEVER_MS if without_ms is None else entry.t + without_ms)
        if entry.kind in (WAITING, NEGATIVE):
            self._open[entry.id] = here
        else:
            self._open.pop(entry.id, None)
        if entry.kind != WAITING:
            self._labels[here] = entry.label
            negative = entry.kind == NEGATIVE
            self._known_ms[here] = entry.t + self._final.negative_ms if negative else entry.label_t
        return at is not None

    def _before(self, name: str, rows: Floats) -> Floats:
        """Return a contestant's answers to what was dropped last; NaN from before it was there."""
        return self._recent.get(name, np.full((self._recents, rows.shape[1]), np.nan, rows.dtype))

    def _order(self, at: Sequence[int]) -> None:
        """Keep those at these indices, in this order."""
        said = self._together()
        chosen = np.array(at, dtype=np.int64)
        self._said = [(len(at), {name: rows[chosen] for name, rows in said.items()})]
        self._ids, self._t_ms = [self._ids[n] for n in at], [self._t_ms[n] for n in at]
        self._labels, self._slices = [self._labels[n] for n in at], [self._slices[n] for n in at]
        self._known_ms, self._gone_ms = [self._known_ms[n] for n in at], [self._gone_ms[n] for n in at]
        self._open = {key: n for n, key in enumerate(self._ids) if key in self._open}

    def _together(self) -> dict[str, Floats]:
        """Return all answers by contestant, NaN from before it was there."""
        kinds = {name: rows for _, said in self._said for name, rows in said.items()}
        return {
            name: np.concatenate([
                said[name] if name in said else np.full((n, rows.shape[1]), np.nan, rows.dtype)
                for n, said in self._said
            ])
            for name, rows in kinds.items()
        }  # fmt: skip
