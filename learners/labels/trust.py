"""A running trust in sources that are named: one whose outcomes speak against what is known is held, for a person.

A sample's excess is its loss less the loss that the answer itself expects, x = ℓ − H(p); of log loss, whose residual r
is y − p, that is x = −Σ r z for the logits z that were served. Its mean is 0 where answers are calibrated, whatever the
label, so that nothing is held for the loss of single samples. By source s and over all sources:

    e_s ← e_s + (x − e_s) / min(n_s, memory)      held once e_s > median(e) + limit for doubt_days, and n_s ≥ samples

No storm lasts so long. A held source's samples count for it alone, and once it is held the others begin again at the
median. A source is free again by itself once its outcomes agree, or when its time is over: each hold is twice as long
as the one before, since an honest change and a lasting forgery look alike, and only a person can tell.

What was learned of a source since its mean was last at the median is in doubt, too, once it is held: forging may have
begun then. Such a doubt is there until it is settled. Owns the fold over samples in the log's order, which depends on
nothing else. Does not know who learns, where held samples are kept, or how what was learned is taken back.
"""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

import msgspec
import torch
from msgspec import Struct
from torch import Tensor

from learners.labels.holds import FOR_EVER_MS, Hold, Said
from learners.labels.running import BACK, DAY_MS, HOUR_MS, excess, first_doubted
from learners.labels.settings import Trust
from learners.labels.sources import OTHERS, Named
from learners.tasks.task import Task
from streams.events import WAITING, Sample

MOST = 8_192  # sources that are known by themselves; any more are one
LOOK = 50  # samples between two looks at all sources
RATE, USUAL = "more than Trust.most_per_hour", "more than Trust.most_usual times its usual number a day"
KNOWN_DAYS, USUAL_DAYS = 7, 28  # from when on a source's usual number is known; how many days it is the mean of
FEW = 100  # outcomes a day are not too many, whatever is usual


class Source(Struct):
    """What is known of a source: `excess` over `n` samples, and since when and until when it is held.

    Times are event times. `turns_ms` is since when it has been over the limit; −1: it is not.
    `holds` counts how often it was held; `agreed` is how many samples the log had when the excess was last no more than
    the median; `level` of a bucket that leaks `most_per_hour` an hour, as of `at_ms`; `today` were learned on the
    log's `day`, `usual` on the mean of the `days` before.
    """

    excess: float = 0.0
    n: int = 0
    turns_ms: int = -1
    since_ms: int | None = None
    until_ms: int = 0
    holds: int = 0
    agreed: int = 0
    level: float = 0.0
    at_ms: int = 0
    day: int = -1
    today: int = 0
    usual: float = 0.0
    days: int = 0

    def begin(self, excess: float, seen: int) -> None:
        """Free it, and judge it anew."""
        self.excess, self.n, self.turns_ms, self.since_ms, self.agreed = excess, 0, -1, None, seen

    def pass_to(self, day: int) -> None:
        """Let the days before one be over, those without an outcome too."""
        if self.day < 0:
            self.day = day
        for today in [self.today, *[0] * min(day - self.day - 1, USUAL_DAYS)] if day > self.day else ():
            self.days += 1
            self.usual += (today - self.usual) / min(self.days, USUAL_DAYS)
        if day > self.day:
            self.day, self.today = day, 0


class _State(Struct):
    sources: dict[str, Source] = {}
    seen: int = 0
    now_ms: int = 0
    doubts: dict[str, int] = {}


class TrustBySource:
    """The trust in the sources that a field or a function names, one a sample: a `RunningTrust`."""

    def __init__(self, spec: Trust, task: Task, named: Named) -> None:
        self._spec, self._task, self._named = spec, task, named
        self._sources: dict[str, Source] = {}
        self.seen = self._now_ms = 0
        self.doubts: dict[str, int] = {}

    @property
    def held(self) -> dict[str, Source]:
        """The sources that are held now."""
        return {name: source for name, source in self._sources.items() if source.since_ms is not None}

    def follow(self, entries: Sequence[Sample], rows: Sequence[Any]) -> list[Hold]:
        """Follow entries of the log, whose features are `rows`; return which of them are held."""
        found = list[Hold]()
        for at, (entry, row) in enumerate(zip(entries, rows, strict=True)):
            mark = entry.kind == WAITING
            name = self._known(row) if mark else self._met(row)
            why = self._why(name, entry)
            found += [Hold(at, name, why)] if why else []
            if not mark:
                self._observe(entry, name, why)
                if self.seen % LOOK == 0:
                    self._look()
        return found

    def doubted(self, row: Any, number: int) -> str | None:
        """Return the source that puts a sample in doubt, the log's so-and-so-many-th; None: there is none."""
        return first_doubted(self.doubts, [self._known(row)], number)

    def settle(self) -> None:
        """Know that what is in doubt was taken back."""
        self.doubts = {}

    def rule(self, source: str, said: Said) -> None:
        """Take a person's word: `release` frees a source and begins anew, `drop` holds it until it is released."""
        one = self._sources.setdefault(source, Source())
        if said == "release":
            one.begin(0.0, self.seen)
            one.holds = one.days = 0
        else:
            one.since_ms, one.until_ms = one.since_ms or self._now_ms, FOR_EVER_MS

    def _known(self, row: Any) -> str:
        """Return the name of a row's source, that of all others where too many are known."""
        name = self._named.of(row)
        return name if name in self._sources else OTHERS

    def _met(self, row: Any) -> str:
        """Return the same, and know it from now on."""
        name = self._named.of(row)
        if name not in self._sources:
            name = name if len(self._sources) < MOST else OTHERS
            self._sources.setdefault(name, Source(agreed=self.seen))
        return name

    def _why(self, name: str, entry: Sample) -> str:
        """Return why an entry is held; "": it is not, and counts in its source's rates."""
        one = self._sources.get(name)
        if one and one.since_ms is not None:
            return f"the source is held: {one.excess:.2f} nats a sample too many"
        if one is None or entry.kind == WAITING:
            return ""
        one.pass_to(max(self._now_ms, entry.prediction.t) // DAY_MS)
        most = self._spec.most_usual
        if most is not None and one.days >= KNOWN_DAYS and one.today >= max(FEW, most * one.usual):
            return USUAL
        if self._spec.most_per_hour and self._over(one, entry.label_t, self._spec.most_per_hour):
            return RATE
        one.today += 1
        return ""

    @staticmethod
    def _over(one: Source, now_ms: int, most: int) -> bool:
        """Return whether a source has used up its rate; else count one more."""
        later_ms = max(now_ms, one.at_ms)
        level = max(0.0, one.level - most * (later_ms - one.at_ms) / HOUR_MS)
        over = level + 1 > most
        one.level, one.at_ms = level + (not over), later_ms
        return over

    def _observe(self, entry: Sample, name: str, why: str) -> None:
        if why not in (RATE, USUAL):
            one = self._sources[name]
            one.n += 1
            one.excess += (excess(self._task, entry) - one.excess) / min(one.n, self._spec.memory)
        self.seen, self._now_ms = self.seen + 1, max(self._now_ms, entry.prediction.t)

    def _look(self) -> None:
        judged = [one for one in self._sources.values() if one.n >= self._spec.samples]
        middle = median(one.excess for one in judged) if judged else 0.0
        for one in self.held.values():
            agrees = one.until_ms < FOR_EVER_MS and one.excess < middle + self._spec.limit / 2
            if agrees or one.until_ms <= self._now_ms:
                one.begin(middle, self.seen)
        free = {name: one for name, one in self._sources.items() if one.since_ms is None}
        for one in free.values():
            if one.excess <= middle:
                one.agreed = self.seen
        enough = {name: one for name, one in free.items() if one.n >= self._spec.samples}
        doubted = [name for name, one in enough.items() if self._lasts(one, one.excess > middle + self._spec.limit)]
        if doubted:
            self._begin(max(doubted, key=lambda name: enough[name].excess), middle)

    def _lasts(self, one: Source, over: bool) -> bool:
        """Return whether a source has been over the limit for the days of doubt."""
        if not over:
            one.turns_ms = -1
        elif one.turns_ms < 0:
            one.turns_ms = self._now_ms
        return over and self._now_ms - one.turns_ms >= self._spec.doubt_days * DAY_MS

    def _begin(self, name: str, middle: float) -> None:
        """Hold a source; the others begin again at the median."""
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
        state = _State(self._sources, self.seen, self._now_ms, self.doubts)
        return {"trust": torch.frombuffer(bytearray(msgspec.msgpack.encode(state)), dtype=torch.uint8)}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a state; ranges that were watched before are forgotten."""
        found = msgspec.msgpack.decode(state["trust"].numpy().tobytes(), type=_State)
        self._sources, self.seen, self._now_ms, self.doubts = found.sources, found.seen, found.now_ms, found.doubts
