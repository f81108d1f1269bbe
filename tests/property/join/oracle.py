"""The join in plain Python: one shard, by the protocol's table, as simple as possible."""

import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha1
from statistics import median_low

from msgspec.structs import replace

from streams.join.batch import LAST_TIME_MS
from streams.join.step import COUNTERS, RECENT, Move, PartitionState, Step

Outcomes = list[tuple[int, str]]  # outcomes as (time, label), distinct and sorted


@dataclass
class Entry:
    """What a shard keeps of an id; it may be dropped after `until`.

    `state` is waiting, early, provisional, unlabelled or done. `marked` is the age of its last mark.
    """

    state: str
    t: int = 0
    body: str = ""
    outcomes: Outcomes = field(default_factory=list)
    until: int = 0
    marked: int = 0


@dataclass
class Mark:
    """How many windows have passed an age, and from which time on it is marked."""

    passed: int
    since: int


@dataclass
class Oracle:
    """A shard. `samples` holds (stream ID, body); `windows` and `markers` hold (time, id), `marks` is by age."""

    partitions: dict[str, PartitionState]
    seq: int = 0
    chain: str = "0"
    watermark: int = 0
    token: str = ""
    ending: bool = False
    entries: dict[str, Entry] = field(default_factory=dict)
    windows: list[tuple[int, str]] = field(default_factory=list)
    markers: list[tuple[int, str]] = field(default_factory=list)
    samples: list[tuple[str, str]] = field(default_factory=list)
    count: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTERS, 0))
    recent: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    missed: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    marks: dict[int, Mark] = field(default_factory=dict)

    def step(self, step: Step, elapsed_ms: int = 0, now_ms: int = LAST_TIME_MS) -> None:
        """Apply a step at `now_ms` of the store's clock, `elapsed_ms` after the last one."""
        applies = [self.partitions[move.tp].next == move.start for move in step.moves]
        due = (self._closing() and self.windows) or self._due(self.windows, 1) or self._due(self.markers, 1)
        due = due or [one for age in self.marks for one in self._passing(age, 1)]
        if step.token == self.token or not (any(applies) if step.moves else due or step.note):
            return
        self.token, self.rules = step.token, step.rules
        self.chain = str(int(sha1((self.chain + step.token).encode()).hexdigest()[:13], 16))
        self.marks = {age: self.marks.get(age) or Mark(0, self.watermark) for age in step.rules.marks}
        self.opens: list[tuple[int, str]] = []
        self.drops: list[tuple[int, str]] = []
        for which, key, t, body in zip(step.which, step.ids, step.times, step.bodies, strict=True):
            if applies[which - 1]:
                self.own = self.partitions[step.moves[which - 1].tp]
                apply = self._outcome if step.moves[which - 1].outcomes else self._prediction
                apply(key, t, body)
                self.count["outcomes" if step.moves[which - 1].outcomes else "predictions"] += 1
        self._advance(step, applies, elapsed_ms, now_ms)
        self._pass()
        closed = self.windows[:256] if self._closing() else self._due(self.windows, 256)
        dropped = self._due(self.markers, 512)
        for deadline, key in closed:
            entry = self.entries.get(key)
            open_ = entry and entry.state in ("waiting", "early")
            if entry and open_ and entry.t + self.rules.window_ms == deadline:
                self._close(key, entry)
        for t, key in dropped:
            entry = self.entries.get(key)
            if entry and (entry.state in ("provisional", "unlabelled") or (entry.state == "done" and entry.until <= t)):
                del self.entries[key]
        for mark in self.marks.values():
            mark.passed = max(0, mark.passed - len(closed))
        self.windows = self.windows[len(closed) :] + self.opens
        self.markers = self.markers[len(dropped) :] + self.drops

    def add(self, tp: str, chain: str) -> None:
        """Add a partition to the running feed: no further window closes before it brings events or is claimed idle."""
        assert tp not in self.partitions
        self.partitions[tp] = PartitionState(-1, 0, -1, 0, 0, since_ms=self.watermark)
        self.chain = chain

    def _closing(self) -> bool:
        return self.ending and all(at.ended for at in self.partitions.values())

    def _due(self, items: list[tuple[int, str]], most: int) -> list[tuple[int, str]]:
        late = next((i for i, (t, _) in enumerate(items[:most]) if t >= self.watermark), most)
        return items[:late]

    def _passing(self, age: int, most: int) -> list[tuple[int, str]]:
        left = [(t - self.rules.window_ms + age, key) for t, key in self.windows[self.marks[age].passed :][:most]]
        return self._due(left, most)

    def _pass(self) -> None:
        """Mark what has reached an age and had no outcome by then."""
        reached: list[tuple[int, str]] = []
        for age, mark in self.marks.items():
            passing = self._passing(age, -(-512 // len(self.marks)))
            mark.passed += len(passing)
            reached += [one for one in passing if one[0] >= mark.since]
        for at, key in sorted(reached):
            entry = self.entries.get(key)
            if entry and entry.state == "waiting":
                self._mark(key, entry, min([at + 1, *(when for when, _ in entry.outcomes)]))

    def _mark(self, key: str, entry: Entry, ending: int) -> None:
        """Emit the marks of before `ending` that an entry has not had."""
        for number, (age, mark) in enumerate(self.marks.items()):
            if age > entry.marked and mark.since <= entry.t + age < ending:
                entry.marked = age
                self.count["marked"] += 1
                self._emit(key, "waiting", number, ("0", entry.t + age), entry.body)

    def _too_late(self, t: int) -> bool:
        return t + self.rules.window_ms + self.rules.keep_ms < self.watermark

    def _forgotten(self, name: str, t: int) -> None:
        until = t + self.rules.window_ms + self.rules.keep_ms
        self.count["too_late_silent"] += self.own.newest_ms - self.rules.slack_ms < until
        self._miss(name, self.watermark - t)

    def _miss(self, name: str, by_ms: int, count: int = 1) -> None:
        self.count[name] += count
        self.missed[name].append(by_ms)

    def _prediction(self, key: str, t: int, body: str) -> None:
        entry = self.entries.get(key)
        if self._too_late(t):
            self._forgotten("prediction_too_late", t)
            return
        if entry and entry.state != "early":
            self.count["prediction_duplicate"] += 1
            self.count["conflict"] += entry.body not in ("", body)
            return
        deadline = t + self.rules.window_ms
        outcomes = entry.outcomes if entry else []
        on_time, late = [o for o in outcomes if o[0] <= deadline], [o for o in outcomes if o[0] > deadline]
        self.count["opened"] += 1
        self.count["early"] -= len(outcomes)
        for when, _ in late:
            self._miss("late", when - t)
        if on_time and not self.rules.at_close:
            self.count["used"] += 1
            self.count["outcome_duplicate"] += len(on_time) - 1
            self._join(key, Entry("early", t, body), on_time[:1])
            return
        self.count["used"] += len(on_time)
        self.count["waiting"] += 1
        self.entries[key] = Entry("waiting", t, body, on_time + (late if self.rules.correct else []))
        self.opens.append((deadline, key))

    def _outcome(self, key: str, t: int, body: str) -> None:
        label = body.partition(',"label_t":')[0]
        entry = self.entries.get(key)
        if self._too_late(t):
            self._forgotten("outcome_too_late", t)
        elif (not entry or entry.state == "early") and self.count["early"] >= self.rules.most_early:
            self._miss("early_refused", self.watermark - t)
        elif not entry:
            self.count["early"] += 1
            self.entries[key] = Entry("early", t, outcomes=[(t, label)])
            self.opens.append((t + self.rules.window_ms, key))
        elif entry.state == "done":
            self.count["outcome_duplicate"] += 1
        elif entry.state == "unlabelled":
            self._miss("outcome_closed", t - entry.t)
            entry.state = "done"
        elif entry.state == "early":
            self._insert(entry, t, label, lambda _: "early")
        elif entry.state == "waiting":
            self._settle(key, entry, t, label)
        elif t > entry.t + self.rules.window_ms and not self.rules.correct:
            self._miss("late", t - entry.t)
        else:
            self._correct(key, entry.t, [(t, label)], entry.body)

    def _settle(self, key: str, entry: Entry, t: int, label: str) -> None:
        deadline = entry.t + self.rules.window_ms
        if t <= deadline and not self.rules.at_close:
            self.count["used"] += 1
            self.count["waiting"] -= 1
            self._join(key, entry, [(t, label)])
        elif t > deadline and not self.rules.correct:
            self._miss("late", t - entry.t)
        elif self._insert(entry, t, label, lambda when: "used" if when <= deadline else "late") and t > deadline:
            self.missed["late"].append(t - entry.t)

    def _insert(self, entry: Entry, t: int, label: str, name: Callable[[int], str]) -> bool:
        if (t, label) in entry.outcomes:
            self.count["outcome_duplicate"] += 1
            return False
        entry.outcomes = sorted([*entry.outcomes, (t, label)])
        self.count[name(t)] += 1
        if len(entry.outcomes) > self.rules.most:
            gone = entry.outcomes.pop(0 if self.rules.reduce == "last" else -1)
            self.count[name(gone[0])] -= 1
            self.count["capped"] += 1
        return True

    def _reduced(self, outcomes: Outcomes) -> tuple[str, int]:
        labels = [label for _, label in outcomes]
        match self.rules.reduce:
            case "first":
                return labels[0], outcomes[0][0]
            case "last":
                return labels[-1], outcomes[-1][0]
            case "sum":
                return f"{sum(map(float, labels)):.17g}", outcomes[-1][0]
        return f"[{','.join(labels)}]", outcomes[-1][0]

    def _emit(self, key: str, kind: str, revision: int, settled: tuple[str, int], body: str) -> None:
        self.seq += 1
        label, label_t = settled
        head = f'"label":{label},"label_t":{label_t},"id":{json.dumps(key)}'
        sample = f'{{"kind":"{kind}","revision":{revision},{head},"t":{body[1:]}'
        self.samples.append((f"{self.seq}-{self.chain}", sample))

    def _join(self, key: str, entry: Entry, outcomes: Outcomes) -> None:
        label, when = self._reduced(outcomes)
        self._mark(key, entry, when)
        self.count["joined"] += 1
        self._emit(key, "joined", 0, (label, when), entry.body)
        self._done(key, max(entry.t, outcomes[-1][0]))

    def _correct(self, key: str, t: int, outcomes: Outcomes, body: str) -> None:
        self.count["corrected"] += 1
        self.count["used"] += len(outcomes)
        self._emit(key, "correction", 1, self._reduced(outcomes), body)
        self._done(key, max(t, outcomes[-1][0]))

    def _done(self, key: str, t: int) -> None:
        until = t + self.rules.window_ms + self.rules.keep_ms
        self.entries[key] = Entry("done", until=until)
        self.drops.append((until, key))

    def _close(self, key: str, entry: Entry) -> None:
        if entry.state == "early":
            self.count["early"] -= len(entry.outcomes)
            self._miss("orphan", self.watermark - entry.t, len(entry.outcomes))
            del self.entries[key]
            return
        self.count["waiting"] -= 1
        deadline = entry.t + self.rules.window_ms
        on_time, late = [o for o in entry.outcomes if o[0] <= deadline], [o for o in entry.outcomes if o[0] > deadline]
        if on_time:
            self._join(key, entry, on_time)
            return
        self._mark(key, entry, deadline if self.rules.negative else self.watermark)
        if not self.rules.negative:
            self.count["unlabelled"] += 1
            self.entries[key] = Entry("unlabelled", entry.t)
            self.drops.append((deadline + self.rules.keep_ms, key))
        else:
            self.count["negative"] += 1
            self._emit(key, "negative", 0, (self.rules.negative, deadline), entry.body)
            if late:
                self.count["late"] -= len(late)
                self._correct(key, entry.t, late, entry.body)
            else:
                self.entries[key] = Entry("provisional", entry.t, entry.body)
                self.drops.append((deadline + self.rules.keep_ms, key))

    def _heard(self, move: Move, now_ms: int) -> int:
        """Return a partition's time: what half of its recent events have reached, of a silent one the last alone."""
        times = self.recent[move.tp] = [*self.recent[move.tp], *move.recent][-RECENT:]
        known = [self.partitions[move.tp].t_ms]
        if move.recent and len(times) >= 8:
            known.append(min(now_ms, median_low(times)))
        if move.idle and times:
            known.append(min(now_ms, times[-1]))
        return max(known)

    def _advance(self, step: Step, applies: list[bool], elapsed_ms: int, now_ms: int) -> None:
        moves: list[Move] = [move for move, applied in zip(step.moves, applies, strict=True) if applied]
        for move in moves:
            at = self.partitions[move.tp]
            last, crc = (move.last, move.crc) if move.last >= 0 else (-1, 0) if move.last == -2 else (at.last, at.crc)
            self.partitions[move.tp] = replace(
                at,
                t_ms=self._heard(move, now_ms),
                newest_ms=max(at.newest_ms, move.t_ms),
                ahead=at.ahead + move.ahead,
                dates=move.dates or at.dates,
                next=move.end,
                last=last,
                crc=crc,
                records=at.records + move.records,
                rejected=at.rejected + move.rejected,
                holes=at.holes + move.holes,
                lost=at.lost + move.lost,
                ended=int(bool(move.ended or (at.ended and move.end == move.start))),
            )
        largest = max(at.t_ms for at in self.partitions.values())
        for move in moves:
            if move.idle and largest >= 0:
                at = self.partitions[move.tp]
                lifted = min(largest + min(1_000, max(0, elapsed_ms)), now_ms)
                t_ms = largest if at.t_ms < largest else max(at.t_ms, lifted)
                self.partitions[move.tp] = replace(at, t_ms=t_ms)
        times = [at.t_ms for at in self.partitions.values()]
        if min(times) >= 0:
            self.watermark = max(self.watermark, min(times) - step.rules.slack_ms)
