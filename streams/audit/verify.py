"""The verifier: the same log joined again in plain Python, and compared id by id with what the join emitted.

Owns the comparison, and which differences have an explanation. Does not know join.lua, nor where samples went. All of
the range is held in memory.

The join may be right and yet differ from what its events say when they all come in time. Each such case is counted by
its reason, and only where the log shows that it can have been; nothing else is let through:

    order       at_once takes the first of several outcomes to come; late ones correct one by one
    overtaken   its own partition had already brought a time more than the slack past the deadline
    added       its partition was added to the running feed when the watermark was past the deadline
    silent      its partition had been silent for idle_s, and others were past the deadline by then
    ended       it came after end-of-feed
    refused     there is a dead letter of it, but it can be read
    copies      predictions of one id with different times: whichever came first counts
    reused      an id again, after it was forgotten
    capped      more outcomes than most_outcomes (at most as many as the join counted)
    removed     retention has removed a part of the range, and the id is in the rest
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from msgspec import Struct, field

from streams.audit.history import ENDED, OWN, REFUSED, SILENT, History, Seen
from streams.audit.rejoin import NOTHING, Asked, Result, possible, settled

SHOWN = 20
REASONS = {SILENT: "silent", ENDED: "ended", REFUSED: "refused"}


class Emitted(NamedTuple):
    """One sample that the join emitted, as it was found where samples go."""

    id: str
    revision: int
    kind: str
    label: Any


class Difference(Struct, frozen=True):
    """An id whose samples are not what its events make: as joined here, and as emitted there."""

    id: str
    here: str
    there: str


class Verdict(Struct, kw_only=True):
    """What the verifier found; at most `SHOWN` differences are listed, `differing` counts all."""

    ids: int = 0
    agreed: int = 0
    explained: dict[str, int] = field(default_factory=dict)
    differing: int = 0
    differences: list[Difference] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)

    def differ(self, one: Difference) -> None:
        """Add a difference."""
        self.differing += 1
        if len(self.differences) < SHOWN:
            self.differences.append(one)


def verify(history: History, emitted: Iterable[tuple[int, Emitted]], held: Collection[str]) -> Verdict:
    """Compare what the join emitted, each sample with its number in its shard, with what the log makes.

    `held` are the ids of the predictions that wait in the store, asked for after the looks.
    """
    history.close()
    there, later = _gather(history, emitted)
    waited = later | set(held)
    verdict = Verdict(removed=history.removed)
    for place, reason in history.unreadable:
        verdict.differ(Difference(place, f"cannot be read: {reason}", "no dead letter"))
    explained: Counter[str] = Counter()
    for key in history.events.keys() | there.keys():
        found = _Case(history, key, tuple(there.get(key, ())), key in waited).judge()
        verdict.ids += 1
        if isinstance(found, Difference):
            verdict.differ(found)
        elif found:
            explained[found] += 1
        else:
            verdict.agreed += 1
    capped = sum(shard.counters["capped"] for shard in history.shards)
    if explained["capped"] > capped:
        verdict.differ(Difference("", f"{explained['capped']} ids with too many outcomes", f"{capped} outcomes capped"))
    verdict.explained = dict(+explained)
    return verdict


def _gather(history: History, emitted: Iterable[tuple[int, Emitted]]) -> tuple[dict[str, list[Any]], set[str]]:
    """Give the samples of each id up to the look, and the ids that waited then because their first came after it."""
    there: dict[str, list[Any]] = defaultdict(list)
    later: set[str] = set()
    for number, one in emitted:
        if number <= history.shard(one.id).seq:
            there[one.id].append((one.revision, one.kind, one.label))
        elif one.revision == 0:
            later.add(one.id)
    return there, later


class _Case:
    """One id: its events, its samples, and whether they agree."""

    def __init__(self, history: History, key: str, there: Result, held: bool) -> None:
        self._history, self._key, self._there, self._held = history, key, there, held
        self._shard, self._rules = history.shard(key), history.rules
        events = history.events.get(key, [])
        self._asked = [one for one in events if one.label is None]
        self._parts: dict[str, list[Seen]] = defaultdict(list)
        for one in events:
            if one.label is not None:
                self._parts[one.tp].append(one)

    def judge(self) -> Difference | str | None:
        """Give None where all agrees, the reason where a difference is explained, or the difference."""
        here = self._plain()
        if here == self._there:
            return None
        for level in (OWN, SILENT, ENDED, REFUSED):
            for at in self._candidates(level):
                if any(self._there == one for one in self._possible(at, level)):
                    return self._reason(at, level)
        return self._rest() or Difference(self._key, _words(here), _words(self._there))

    def _plain(self) -> Result:
        asked = [one for one in self._asked if not one.refused]
        if not asked:
            return NOTHING
        told = [
            self._history.told(one, OWN, self._shard)
            for part in self._parts.values()
            for one in part
            if not one.refused
        ]
        return settled(asked[0].t, told, self._rules, closed=self._closed(asked[0].t))

    def _closed(self, t: int, level: int = OWN) -> bool:
        """Whether the window has closed; one that is due may still be held, behind others in its line."""
        ended = self._shard.ending and (level >= ENDED or all(at.ended for at in self._shard.partitions.values()))
        return not self._held and (ended or t + self._rules.window_ms < self._shard.watermark_ms)

    def _candidates(self, level: int) -> list[Seen]:
        return [one for one in self._asked if level == REFUSED or not one.refused]

    def _possible(self, at: Seen, level: int) -> Iterator[Result]:
        asked = self._history.asked(at, level, self._shard)
        parts = [
            [self._history.told(one, level, self._shard) for one in part if level == REFUSED or not one.refused]
            for part in self._parts.values()
        ]
        return possible(asked, parts, self._rules, closed=self._closed(at.t, level))

    def _reason(self, at: Seen, level: int) -> str:
        if len({one.t for one in self._candidates(level)}) > 1:
            return "copies"
        if level > OWN:
            return REASONS[level]
        deadline = at.t + self._rules.window_ms
        on_time = [one for part in self._parts.values() for one in part if one.t <= deadline]
        late = [one for one in on_time if self._history.bound_ms(one, OWN, self._shard) > deadline]
        late += [at] if self._history.bound_ms(at, OWN, self._shard) > at.t else []
        if any(self._history.added_ms(one, self._shard) for one in late):
            return "added"
        return "overtaken" if late else "order"

    def _rest(self) -> str | None:
        """Explain what no order of coming does."""
        outcomes = {(one.t, one.label) for part in self._parts.values() for one in part}
        if len(outcomes) > self._rules.most and self._rules.reduce != "first":
            return "capped"
        if self._reused():
            return "reused"
        settled_ = any(kind != "negative" for _, kind, _ in self._there)
        return "removed" if self._history.removed and (settled_ or not self._asked) else None

    def _reused(self) -> bool:
        """Whether the id came again after it was forgotten, and each time it may have become what it did."""
        starts = [i for i, (revision, *_) in enumerate(self._there) if revision == 0]
        times = sorted({one.t for one in self._asked})
        span = self._rules.window_ms + self._rules.keep_ms
        if not (starts and 1 < len(starts) + self._held <= len(times)) or times[0] + span >= self._shard.watermark_ms:
            return False
        groups = [self._there[i:j] for i, j in zip(starts, [*starts[1:], None], strict=True)]
        outcomes = [one for part in self._parts.values() for one in part]
        return all(any(self._may_be(group, t, outcomes) for t in times) for group in groups)

    def _may_be(self, group: Result, t: int, outcomes: Sequence[Seen]) -> bool:
        told = [self._history.told(one, OWN, self._shard)._replace(optional=True) for one in outcomes]
        asked = Asked(t, self._shard.watermark_ms)
        return any(group == one for one in possible(asked, [told], self._rules, closed=True))


def _words(result: Result) -> str:
    return ", then ".join(f"{kind} {label!r} (revision {revision})" for revision, kind, label in result) or "nothing"
