"""A running trust where no source is named: ranges of numbers and values of categories are watched, each as a source.

Samples are compared with an answer of two to four weeks ago (reference.py), since what serves learns a forgery within
days. Outcomes that took longer are held with their range, but not compared: where the label decides how long they take,
they come in no fair order. A range is judged on each day on which it has a quarter of `memory` samples more:

    over = Σx > n·m + SHARE·Σh  and  Σx > n·(m + limit)      m = median of Σx/n over the ranges, at least 0

It is in doubt while each such day is over, and held after twice `doubt_days` of them: weather lasts no longer.
Ranges overlap, so one field is held at a time: that whose doubted ranges have the largest Σx − n·m − SHARE·Σh, which
those that are half as long in doubt join; all others begin anew. While a range is in doubt, its weights stand still.

A range that is held is free once as many of its days agree. A person's release, or the end of its time, says that it is
the world that changed: it is believed then, judged by nothing, until the reference has learned it, and the excess that
is left is its usual one; for an honest change of a range and a lasting forgery look the same in the data.

Owns the fold over samples in the log's order, which depends on nothing else. Does not know who learns, or how what was
learned is taken back.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
import torch
from msgspec import Struct
from torch import Tensor

from learners.labels import reference
from learners.labels.holds import FOR_EVER_MS, Hold, Said
from learners.labels.running import BACK, DAY_MS, first_doubted
from learners.labels.settings import Trust
from learners.labels.sources import Ranges
from learners.live.compiled import Bools, Ints
from learners.live.tables.arrays import restore, state_of
from learners.tasks.task import Task
from streams.errors import ConfigError
from streams.events import WAITING, Sample

SHARE = 0.8  # of the excess that labels by chance would have; turned ones have twice as much
DAYS = 2.0  # of doubt days: weather and the like move all samples of a range
PARTS = 4  # of `memory` samples, that make a range's day
AGE_DAYS = 14  # of the reference, at least
USUAL_DAYS = 4  # days of a believed range that its usual excess remembers
BELIEVED_DAYS = 3 * AGE_DAYS  # until it has learned what a range is now


class Held(NamedTuple):
    """A range that is held: since when, until when in event time, and its excess in nats a sample."""

    since_ms: int
    until_ms: int
    excess: float


class _State(Struct):
    of: dict[str, Any] = {}
    sources: dict[str, Any] = {}  # of the rule before this one, which knew names
    seen: int = 0
    now_ms: int = 0
    doubts: dict[str, int] = {}
    aged: int = -1
    snapshots: int = 0


class TrustByRange:
    """The trust in ranges of the features: a `RunningTrust`."""

    def __init__(self, spec: Trust, task: Task, ranges: Ranges) -> None:
        self._spec, self._of, self._classes = spec, ranges, max(2, task.outputs)
        self.seen = self._now_ms = self._snapshots = 0
        self._aged = -1  # the day of the newest snapshot
        self.doubts: dict[str, int] = {}
        self._begin()

    def _begin(self) -> None:
        """Know nothing of any range."""
        size = self._of.size
        self._learning, self._next, self._weights = (np.zeros((size, self._classes)) for _ in range(3))
        self._level, self._sums = np.zeros(self._classes), np.zeros((size, 3))
        self._met, self._over, self._agree, self._holds, self._agreed = (np.zeros(size, np.int64) for _ in range(5))
        self._since_ms, self._until_ms, self._believed_ms = (np.full(size, -1, np.int64) for _ in range(3))
        self._excess, self._evidence, self._usual = np.zeros(size), np.zeros(size), np.zeros(size)

    @property
    def held(self) -> dict[str, Held]:
        """The ranges that are held now."""
        return {
            self._of.name(at): Held(int(self._since_ms[at]), int(self._until_ms[at]), float(self._excess[at]))
            for at in np.flatnonzero(self._since_ms >= 0).tolist()
        }

    def follow(self, entries: Sequence[Sample], rows: Sequence[Any]) -> list[Hold]:
        """Follow entries of the log, whose features are `rows`; return which of them are held."""
        real = [entry.kind != WAITING for entry in entries]
        codes, labels = self._of.codes(rows, real), np.full(len(entries), -1, np.int64)
        found, start = list[Hold](), 0
        for at, entry in enumerate(entries):
            if not real[at]:
                continue
            t_ms = entry.prediction.t
            if t_ms // DAY_MS > self._now_ms // DAY_MS:
                found += self._pass(codes[start:at], labels[start:at], start)
                self._now_ms, start = t_ms, at
                self._look()
            self._now_ms, self.seen = max(self._now_ms, t_ms), self.seen + 1
            if self._now_ms - t_ms <= AGE_DAYS * DAY_MS:
                labels[at] = int(entry.label)  # type: ignore[arg-type]  # of `Binary` and `Classes`: the class
        return found + self._pass(codes[start:], labels[start:], start)

    def _pass(self, codes: Ints, labels: Ints, start: int) -> list[Hold]:
        """Follow entries of one day, the first of which is the one at `start`."""
        found = np.zeros(len(codes), np.int64)
        held, believed = self._since_ms >= 0, self._believed()
        reference.follow(
            codes, labels, held, believed, self._usual,
            self._learning, self._weights, self._level, self._sums, found,
        )  # fmt: skip
        np.add.at(self._met, codes[labels >= 0].ravel(), 1)
        return [
            Hold(start + at, self._of.name(code), f"the range is held: {self._excess[code]:.2f} nats a sample too many")
            for at, code in enumerate(found.tolist())
            if code
        ]

    def _believed(self) -> Bools:
        return self._believed_ms // DAY_MS > self._now_ms // DAY_MS

    def doubted(self, row: Any, number: int) -> str | None:
        """Return the range that puts a sample in doubt, the log's so-and-so-many-th; None: there is none."""
        if not self.doubts:
            return None
        (codes,) = self._of.codes([row], [False]).tolist()
        return first_doubted(self.doubts, [self._of.name(code) for code in codes], number)

    def settle(self) -> None:
        """Know that what is in doubt was taken back."""
        self.doubts = {}

    def rule(self, source: str, said: Said) -> None:
        """Take a person's word: `release` believes a range as it is now, `drop` holds it until it is released."""
        at = self._of.code(source)
        if at and said == "release":
            self._free(np.arange(self._of.size) == at, believed=True)
            self._holds[at] = 0
        elif at:
            self._since_ms[at] = max(self._since_ms[at], 0) or self._now_ms
            self._until_ms[at] = FOR_EVER_MS

    def _look(self) -> None:
        """Judge the ranges at the end of a day."""
        self._age()
        n, x, h = self._sums.T
        ended = (self._since_ms >= 0) & (self._until_ms <= self._now_ms)
        if ended.any():
            self._free(ended, believed=True)
        full = n >= max(1, self._spec.memory / PARTS)
        known = full & (self._met >= self._spec.samples)
        if not self._snapshots:
            self._sums[:] = 0
            return
        mean = np.where(full, x / np.maximum(n, 1), 0)
        middle = max(float(np.median(mean[known])), 0.0) if known.any() else 0.0
        gap = x - middle * n - SHARE * h
        told = full & self._believed()
        self._usual[told] += (np.maximum(mean - middle, 0) - self._usual)[told] / USUAL_DAYS
        over = known & ~told & (gap > 0) & (mean > middle + self._spec.limit)
        calm = full & ~over
        self._over[over] += 1
        self._evidence[over] += gap[over]
        self._over[calm], self._evidence[calm], self._agreed[calm] = 0, 0, self.seen
        agrees = full & (x <= middle * n + SHARE / 2 * h)
        self._agree[full] = np.where(agrees, self._agree + 1, 0)[full]
        self._excess[full] = mean[full]
        self._sums[full] = 0
        days = max(1, round(DAYS * self._spec.doubt_days))
        self._free((self._since_ms >= 0) & (self._until_ms < FOR_EVER_MS) & (self._agree >= days), believed=False)
        self._hold(days)

    def _age(self) -> None:
        """Let what was learned become the reference, two snapshots later; ranges in doubt stay as they are."""
        day = self._now_ms // DAY_MS
        if self._aged < 0:
            self._aged = day
        if day - self._aged < AGE_DAYS:
            return
        calm = (self._over == 0) & (self._since_ms < 0)
        self._weights[calm] = (self._next if self._snapshots else self._learning)[calm]
        self._next[calm] = self._learning[calm]
        self._aged, self._snapshots = day, self._snapshots + 1

    def _hold(self, days: int) -> None:
        """Hold the ranges of one field, if any has been in doubt for so many days."""
        free = (self._since_ms < 0) & ~self._believed()
        doubted = free & (self._over >= days)
        if not doubted.any():
            return
        by_field = np.bincount(self._of.field[doubted], self._evidence[doubted])
        chosen = free & (self._of.field == np.argmax(by_field)) & (self._over >= max(1, days / 2))
        for at in np.flatnonzero(chosen).tolist():
            self.doubts.setdefault(self._of.name(at), max(int(self._agreed[at]), self.seen - BACK))
            length_ms = round(self._spec.hold_days * DAY_MS * 2.0 ** min(int(self._holds[at]), 16))
            self._since_ms[at], self._until_ms[at] = self._now_ms, self._now_ms + length_ms
        self._holds[chosen] += 1
        self._agree[chosen] = 0
        self._learning[chosen] = self._next[chosen] = self._weights[chosen]
        others = self._since_ms < 0
        self._over[others], self._evidence[others], self._agreed[others], self._sums[others] = 0, 0, self.seen, 0

    def _free(self, which: Any, *, believed: bool) -> None:
        """Free ranges, and judge them anew; believed ones only when the reference has learned what they are now."""
        self._since_ms[which] = -1
        self._over[which], self._agree[which], self._evidence[which], self._sums[which] = 0, 0, 0, 0
        self._agreed[which] = self.seen
        if believed:
            self._believed_ms[which] = self._now_ms + BELIEVED_DAYS * DAY_MS

    def _arrays(self) -> dict[str, Any]:
        names = [*("learning", "next", "weights", "level", "sums", "met", "over", "agree", "holds", "agreed")]
        names += ("since_ms", "until_ms", "believed_ms", "excess", "evidence", "usual")
        return {f"trust.{name}": getattr(self, f"_{name}") for name in names}

    def state(self) -> dict[str, Tensor]:
        """Return all that changes: an array each, and the rest as bytes."""
        of = self._of.state()
        rest = _State(of, {}, self.seen, self._now_ms, self.doubts, self._aged, self._snapshots)
        packed = torch.frombuffer(bytearray(msgspec.msgpack.encode(rest)), dtype=torch.uint8)
        return {"trust": packed} | state_of(self._arrays())

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a state. One of other fields, or of the rule before this one, says which samples are held."""
        found = msgspec.msgpack.decode(state["trust"].numpy().tobytes(), type=_State)
        self._begin()
        if found.of:
            self._of.load(found.of)
        self.seen, self._now_ms, self.doubts = found.seen, found.now_ms, found.doubts
        self._aged, self._snapshots = found.aged, found.snapshots
        try:
            restore(self._arrays(), state)
        except ConfigError:
            self._aged, self._snapshots = -1, 0
        for name, source in found.sources.items():
            if source.get("since_ms") is not None and (at := self._of.code(name)):
                self._since_ms[at], self._until_ms[at] = source["since_ms"], source["until_ms"]
                self._excess[at], self._holds[at] = source["excess"], source["holds"]
