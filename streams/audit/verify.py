"""The verifier: joins the same log again in plain Python, and compares id by id with what the join emitted.

Owns the comparison, and which differences have an explanation. Does not know join.lua, nor where samples went. Keeps
the whole range in memory.

A correct join may differ from what its events make when all arrive in time. Each such difference is counted by its
reason, but only where the log shows that the reason can apply; every other difference counts as one:

    order       at_once takes the outcome that arrives first; late outcomes correct one by one
    overtaken   its own partition had already brought a time past the deadline by more than the slack
    added       its partition was added to the running feed when the watermark was past the deadline
    silent      its partition had been silent for idle_s, and others were past the deadline by then
    ended       it arrived after end-of-feed
    refused     it has a dead letter, but can be read
    copies      predictions of one id with different times: the one that arrives first counts
    reused      an id that came again after it was forgotten
    capped      more outcomes than most_outcomes (at most as many as the join counted)
    early       a prediction's outcomes that came before it may have been refused, with too many others (most_early)
    removed     retention has removed a part of the range, and the id is in the rest
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator
from typing import Any, NamedTuple

from msgspec import Struct, field

from streams.audit.history import History, Leeway, Seen
from streams.audit.rejoin import NOTHING, Emission, OutcomeArrival, PredictionArrival, Result, possible, settled
from streams.events import WAITING

SHOWN = 20  # differences that a verdict lists


class Emitted(NamedTuple):
    """One sample that the join emitted."""

    id: str
    revision: int
    kind: str
    label: Any


class Difference(Struct, frozen=True):
    """An id whose samples differ: as its events were joined `here`, and as the join emitted them `there`."""

    id: str
    here: str
    there: str


class Verdict(Struct, kw_only=True):
    """What the verifier found; `differing` counts the differences without a reason, at most `SHOWN` are listed."""

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


def verify(history: History, emitted: Iterable[tuple[int, Emitted]], waiting: Collection[str]) -> Verdict:
    """Compare what the join emitted, each sample with its number in its shard, with what the log makes.

    `waiting` are the ids of the predictions that wait in the store; read them after the shards of the history.
    """
    there, later = _gather(history, emitted)
    waited = later | set(waiting)
    verdict = Verdict(removed=list(history.joined.removed))
    for position, reason in history.unreadable:
        verdict.differ(Difference(position, f"cannot be read: {reason}", "no dead letter"))
    explained: Counter[str] = Counter()
    for key in history.events.keys() | there.keys():
        judged = _Case(history, key, tuple(there.get(key, ())), key in waited).judge()
        verdict.ids += 1
        if isinstance(judged, Difference):
            verdict.differ(judged)
        elif judged:
            explained[judged] += 1
        else:
            verdict.agreed += 1
    capped = sum(shard.counters["capped"] for shard in history.joined.shards)
    if explained["capped"] > capped:
        verdict.differ(Difference("", f"{explained['capped']} ids with too many outcomes", f"{capped} outcomes capped"))
    refused = sum(shard.counters["early_refused"] for shard in history.joined.shards)
    if explained["early"] > refused:
        verdict.differ(Difference("", f"{explained['early']} ids whose outcomes were early", f"{refused} refused"))
    verdict.explained = dict(+explained)
    return verdict


def _gather(history: History, emitted: Iterable[tuple[int, Emitted]]) -> tuple[dict[str, list[Emission]], set[str]]:
    """Return the samples of each id up to the reading of its shard, and the ids whose first sample came later.

    Marks are left out: what becomes of an id does not depend on them.
    """
    there: dict[str, list[Emission]] = defaultdict(list)
    later: set[str] = set()
    for number, one in emitted:
        if one.kind == WAITING:
            continue
        if number <= history.joined.shard(one.id).seq:
            there[one.id].append(Emission(one.revision, one.kind, one.label))
        elif one.revision == 0:
            later.add(one.id)
    return there, later


class _Case:
    """One id: its events, its samples, and whether they agree."""

    def __init__(self, history: History, key: str, there: Result, waits: bool) -> None:
        self._history, self._key, self._there, self._waits = history, key, there, waits
        self._shard, self._rules = history.joined.shard(key), history.joined.rules
        events = history.events.get(key, [])
        self._predictions = [one for one in events if one.label is None]
        self._outcomes: dict[str, list[Seen]] = defaultdict(list)  # by partition
        for one in events:
            if one.label is not None:
                self._outcomes[one.tp].append(one)

    def judge(self) -> Difference | str | None:
        """Return None where all agree, the reason where a difference is explained, or else the difference."""
        here = self._plain()
        if here == self._there:
            return None
        for level in Leeway:
            for prediction in self._candidates(level):
                if any(self._there == one for one in self._possible(prediction, level)):
                    return self._reason(prediction, level)
        return self._other_reason() or Difference(self._key, _words(here), _words(self._there))

    def _plain(self) -> Result:
        """Return what the events make if all arrive in time."""
        predictions = self._candidates(Leeway.OWN)
        if not predictions:
            return NOTHING
        outcomes = [one for part in self._arrivals(Leeway.OWN) for one in part]
        return settled(predictions[0].t_ms, outcomes, self._rules, closed=self._closed(predictions[0].t_ms))

    def _closed(self, t_ms: int, level: Leeway = Leeway.OWN) -> bool:
        """Whether the window has closed; one that is due may still wait in line after others."""
        read = level >= Leeway.ENDED or all(tp.ended for tp in self._shard.partitions.values())
        ended = self._shard.ending and read
        return not self._waits and (ended or t_ms + self._rules.window_ms < self._shard.watermark_ms)

    def _candidates(self, level: Leeway) -> list[Seen]:
        return [one for one in self._predictions if level == Leeway.REFUSED or not one.refused]

    def _arrivals(self, level: Leeway) -> list[list[OutcomeArrival]]:
        return [
            [
                self._history.outcome(one, level, self._shard)
                for one in part
                if level == Leeway.REFUSED or not one.refused
            ]
            for part in self._outcomes.values()
        ]

    def _possible(self, prediction: Seen, level: Leeway) -> Iterator[Result]:
        arrival = self._history.prediction(prediction, level, self._shard)
        return possible(arrival, self._arrivals(level), self._rules, closed=self._closed(prediction.t_ms, level))

    def _reason(self, prediction: Seen, level: Leeway) -> str:
        if len({one.t_ms for one in self._candidates(level)}) > 1:
            return "copies"
        if level > Leeway.OWN:
            return level.name.lower()
        deadline = prediction.t_ms + self._rules.window_ms
        on_time = [one for part in self._outcomes.values() for one in part if one.t_ms <= deadline]
        late = [one for one in on_time if self._bound_ms(one) > deadline]
        late += [prediction] if self._bound_ms(prediction) > prediction.t_ms else []
        if any(self._history.added_ms(one, self._shard) for one in late):
            return "added"
        return "overtaken" if late else "order"

    def _bound_ms(self, one: Seen) -> int:
        return self._history.bound_ms(one, Leeway.OWN, self._shard)

    def _other_reason(self) -> str | None:
        """Explain what no order of arrival explains."""
        outcomes = {(one.t_ms, one.label) for part in self._outcomes.values() for one in part}
        counters = self._shard.counters
        some = counters["capped"] or not counters["early_refused"]  # of those refused early none is counted as capped
        if some and len(outcomes) > self._rules.most and self._rules.reduce != "first":
            return "capped"
        if self._reused():
            return "reused"
        if counters["early_refused"] and self._unheard():
            return "early"
        labelled = any(one.kind != "negative" for one in self._there)
        return "removed" if self._history.joined.removed and (labelled or not self._predictions) else None

    def _reused(self) -> bool:
        """Whether the id came again after it was forgotten, and each time became what it may have become."""
        starts = [i for i, one in enumerate(self._there) if one.revision == 0]
        times = sorted({one.t_ms for one in self._predictions})
        span = self._rules.window_ms + self._rules.keep_ms
        if not (starts and 1 < len(starts) + self._waits <= len(times)) or times[0] + span >= self._shard.watermark_ms:
            return False
        groups = [self._there[i:j] for i, j in zip(starts, [*starts[1:], None], strict=True)]
        return all(any(self._may_be(group, t_ms) for t_ms in times) for group in groups)

    def _unheard(self) -> bool:
        """Whether they are what the events make without some of the outcomes."""
        seen = [one for part in self._outcomes.values() for one in part]
        outcomes = [self._history.outcome(one, Leeway.ENDED, self._shard)._replace(optional=True) for one in seen]
        return any(self._there in self._all(prediction, outcomes) for prediction in self._candidates(Leeway.OWN))

    def _all(self, prediction: Seen, outcomes: list[OutcomeArrival]) -> Iterator[Result]:
        arrival = self._history.prediction(prediction, Leeway.ENDED, self._shard)
        return possible(arrival, [outcomes], self._rules, closed=self._closed(prediction.t_ms, Leeway.ENDED))

    def _may_be(self, group: Result, t_ms: int) -> bool:
        seen = [one for part in self._outcomes.values() for one in part]
        outcomes = [self._history.outcome(one, Leeway.ENDED, self._shard)._replace(optional=True) for one in seen]
        prediction = PredictionArrival(t_ms, self._shard.watermark_ms)
        return any(group == one for one in possible(prediction, [outcomes], self._rules, closed=True))


def _words(result: Result) -> str:
    return ", then ".join(f"{one.kind} {one.label!r} (revision {one.revision})" for one in result) or "nothing"
