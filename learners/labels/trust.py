"""A running trust by source: one whose outcomes speak against all that is known is held, for a person to judge.

A sample's excess is its loss less the loss that the answer itself expects, x = ℓ − H(p); of log loss, whose residual r
is y − p, that is x = −Σ r z for the logits z that were served. Its mean is 0 where answers are calibrated, whatever the
label, so that nothing is held for the loss of single samples. By source s and over all sources:

    e_s ← e_s + (x − e_s) / min(n_s, memory)      held once e_s > median(e) + limit for doubt_days, and n_s ≥ samples

No storm lasts so long: of 80,000 honest flights 23,000 were held without this time, as 200 ranges were watched. Weather
moves all samples of a range together, so ranges are held after twice the days, and `memory` samples, of doubt.

A held sample counts for its held sources alone, and once a source is held the others begin again at the median: where
sources overlap (ranges of features), the one with the largest excess is held, if need be as soon as it may. A source is
free again by itself once its outcomes have agreed for as long, or when its time is over: each hold is twice as long as
the one before, since an honest change and a lasting forgery look alike, and only a person can tell.

What was learned of a source since its mean was last at the median is in doubt, too, once it is held: forging may have
begun then. Such a doubt is there until it is settled. Owns the fold over samples in the log's order, which depends on
nothing else. Does not know who learns, where held samples are kept, or how what was learned is taken back.
"""

import math
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

import msgspec
import torch
from msgspec import Struct
from torch import Tensor

from learners.labels.holds import FOR_EVER_MS, Hold, Said
from learners.labels.settings import Trust
from learners.labels.sources import OTHERS, Sources
from learners.tasks.task import LOGIT_FLOOR, Task
from streams.events import WAITING, Sample

MOST = 8_192  # sources that are known by themselves; any more are one
RANGES_DAYS = 2.0  # of doubt days, for ranges
BACK = 32_768  # samples of the log, all sources' together, that a doubt goes back
LOOK = 50  # samples between two looks at all sources
DAY_MS, HOUR_MS = 86_400_000, 3_600_000
RATE = "more than Trust.most_per_hour"


class Source(Struct):
    """What is known of a source: `excess` over `n` samples, and since when and until when it is held.

    Times are event times. `turns_ms` is since when it has been over the limit, or, if held, has agreed; −1: it has not;
    `turns_n` is what `n` was then.
    `holds` counts how often it was held; `agreed` is how many samples the log had when the excess was last no more than
    the median; `level` of a bucket that leaks `most_per_hour` an hour, as of `at_ms`.
    """

    excess: float = 0.0
    n: int = 0
    turns_ms: int = -1
    turns_n: int = 0
    since_ms: int | None = None
    until_ms: int = 0
    holds: int = 0
    agreed: int = 0
    level: float = 0.0
    at_ms: int = 0

    def begin(self, excess: float, seen: int) -> None:
        """Free it, and judge it anew."""
        self.excess, self.n, self.turns_ms, self.since_ms, self.agreed = excess, 0, -1, None, seen


class _State(Struct):
    sources: dict[str, Source]
    seen: int
    now_ms: int
    of: dict[str, Any]
    doubts: dict[str, int] = {}


class RunningTrust:
    """The trust in each source of a task's samples.

    `seen` counts the samples of the log so far. `doubts` are sources that are held, by the number of the first sample
    that is in doubt, until they are settled.
    """

    def __init__(self, spec: Trust, task: Task, sources: Sources) -> None:
        self._spec, self._task, self._of = spec, task, sources
        self._sources: dict[str, Source] = {}
        self.seen = self._now_ms = 0
        self.doubts: dict[str, int] = {}

    @property
    def held(self) -> dict[str, Source]:
        """The sources that are held now."""
        return {name: source for name, source in self._sources.items() if source.since_ms is not None}

    def follow(self, entries: Sequence[Sample], rows: Sequence[Any]) -> list[Hold]:
        """Follow entries of the log, whose features are `rows`; return which of them are held."""
        found, any_held = list[Hold](), bool(self.held)
        for at, (entry, row) in enumerate(zip(entries, rows, strict=True)):
            mark = entry.kind == WAITING
            names = self._names(row, new=not mark) if any_held or not mark else []
            hold = self._hold(at, entry, names)
            found += [hold] if hold else []
            if not mark:
                self._observe(entry, [name for name in names if not hold or self._is_held(name)], hold)
                if self.seen % LOOK == 0:
                    self._look()
                    any_held = bool(self.held)
        return found

    def doubted(self, row: Any, number: int) -> str | None:
        """Return the source that puts a sample in doubt, the log's so-and-so-many-th; None: there is none."""
        names = self._names(row, new=False)
        return next((one for one in names if one in self.doubts and number >= self.doubts[one]), None)

    def settle(self) -> None:
        """Know that what is in doubt was taken back."""
        self.doubts = {}

    def rule(self, source: str, said: Said) -> None:
        """Take a person's word: `release` frees a source and begins anew, `drop` holds it until it is released."""
        one = self._sources.setdefault(source, Source())
        if said == "release":
            one.begin(0.0, self.seen)
            one.holds = 0
        else:
            one.since_ms, one.until_ms = one.since_ms or self._now_ms, FOR_EVER_MS

    def _names(self, row: Any, *, new: bool) -> list[str]:
        """Return the names of a row's sources, that of all others where too many are known; `new` ones are added."""
        if not new:
            return [name if name in self._sources else OTHERS for name in self._of.of(row)]
        self._of.meet(row)
        return [self._known(name) for name in self._of.of(row)]

    def _known(self, name: str) -> str:
        if name not in self._sources:
            name = name if len(self._sources) < MOST else OTHERS
            self._sources.setdefault(name, Source(agreed=self.seen))
        return name

    def _is_held(self, name: str) -> bool:
        return name in self._sources and self._sources[name].since_ms is not None

    def _hold(self, at: int, entry: Sample, names: Sequence[str]) -> Hold | None:
        for name in names:
            if self._is_held(name):
                return Hold(at, name, f"the source is held: {self._sources[name].excess:.2f} nats a sample too many")
        if entry.kind != WAITING and self._spec.most_per_hour and self._over(names[0], entry.label_t):
            return Hold(at, names[0], RATE)
        return None

    def _over(self, name: str, now_ms: int) -> bool:
        """Return whether a source has used up its rate; else count one more."""
        source, most = self._sources[name], float(self._spec.most_per_hour or 0)
        later_ms = max(now_ms, source.at_ms)
        level = max(0.0, source.level - most * (later_ms - source.at_ms) / HOUR_MS)
        over = level + 1 > most
        source.level, source.at_ms = level + (not over), later_ms
        return over

    def _observe(self, entry: Sample, names: Sequence[str], hold: Hold | None) -> None:
        if hold is None or hold.why != RATE:
            x = excess(self._task, entry)
            for source in (self._sources[name] for name in names):
                source.n += 1
                source.excess += (x - source.excess) / min(source.n, self._spec.memory)
        self.seen, self._now_ms = self.seen + 1, max(self._now_ms, entry.prediction.t)

    def _look(self) -> None:
        judged = [one for one in self._sources.values() if one.n >= self._spec.samples]
        middle = median(one.excess for one in judged) if judged else 0.0
        for one in self.held.values():
            agrees = one.until_ms < FOR_EVER_MS and one.excess < middle + self._spec.limit / 2
            long = agrees and (self._spec.source is None or self._lasts(one, True))  # ranges: weather moves them
            if not agrees:
                one.turns_ms = -1
            if long or one.until_ms <= self._now_ms:
                one.begin(middle, self.seen)
        free = {name: one for name, one in self._sources.items() if one.since_ms is None}
        for one in free.values():
            if one.excess <= middle:
                one.agreed = self.seen
        enough = {name: one for name, one in free.items() if one.n >= self._spec.samples}
        over = [name for name, one in enough.items() if one.excess > middle + self._spec.limit]
        doubted = [name for name, one in enough.items() if self._lasts(one, name in over)]
        worst = max(over if self._spec.source is None else doubted, key=lambda name: enough[name].excess, default="")
        if worst in doubted:
            self._begin(worst, middle)

    def _lasts(self, one: Source, now: bool) -> bool:
        """Return whether what is so now of a source has been so for as long as it takes to turn."""
        if not now:
            one.turns_ms = -1
        elif one.turns_ms < 0:
            one.turns_ms, one.turns_n = self._now_ms, one.n
        spec, ranges = self._spec, self._spec.source is None
        days, samples = (RANGES_DAYS * spec.doubt_days, spec.memory) if ranges else (spec.doubt_days, 0)
        return now and self._now_ms - one.turns_ms >= days * DAY_MS and one.n - one.turns_n >= samples

    def _begin(self, name: str, middle: float) -> None:
        """Hold a source; what the others have of its samples is forgotten."""
        worst = self._sources[name]
        self.doubts.setdefault(name, max(worst.agreed, self.seen - BACK))
        length_ms = round(self._spec.hold_days * DAY_MS * 2.0 ** min(worst.holds, 16))
        worst.turns_ms = -1
        worst.since_ms, worst.until_ms, worst.holds = self._now_ms, self._now_ms + length_ms, worst.holds + 1
        for source in self._sources.values():
            if source.since_ms is None:
                source.excess = min(source.excess, middle)

    def state(self) -> dict[str, Tensor]:
        """Return all that changes, as bytes."""
        state = _State(self._sources, self.seen, self._now_ms, self._of.state(), self.doubts)
        return {"trust": torch.frombuffer(bytearray(msgspec.msgpack.encode(state)), dtype=torch.uint8)}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a state."""
        found = msgspec.msgpack.decode(state["trust"].numpy().tobytes(), type=_State)
        self._sources, self.seen, self._now_ms, self.doubts = found.sources, found.seen, found.now_ms, found.doubts
        self._of.load(found.of)


def excess(task: Task, sample: Sample) -> float:
    """Return by how much the loss of what was served exceeds the loss that it expects, in nats."""
    served = sample.prediction.served
    top = max(served) if len(served) > 1 else 0.0  # of classes, only differences count
    served = tuple(max(-LOGIT_FLOOR, min(LOGIT_FLOOR, z - top)) for z in served)
    residual = task.residual(served, sample.label)
    x = -sum(r * z for r, z in zip(residual, served, strict=True))
    return x if math.isfinite(x) else 0.0
