"""The learner role: reads the sample streams, learns, writes commits, and only then trims.

Owns the order of these steps, and the way back to the commits where one fails or the store went back in time. Does not
know how a model learns (learners), how failures are counted (attempts.py) or how streams are kept.
"""

import hashlib
import logging
import time
from collections.abc import Iterator, Sequence
from itertools import groupby

from deploy.learning.attempts import Attempts, Span
from deploy.registry.commits import backwards, rebuild
from deploy.registry.kinds import COMMITS, LEARNER
from deploy.registry.records import LearnerNote
from deploy.registry.registry import Registry
from learners.commits import commit as commits
from learners.commits.commit import Commit, Due, Quarantined
from learners.commits.draft import Draft
from learners.online.learner import Learner
from streams.errors import HistoryChanged, LostRace, RegistryError
from streams.events import read_sample
from streams.join.store import NOTHING, Store
from streams.outputs.samples import number

DAY_MS = 86_400_000
STATE_EVERY = 32  # commits between whole states: what a restart has to learn again at most
READ_AT_ONCE = 2_048
DIED = "the process died of it"

Entry = tuple[str, bytes]  # position and JSON


class LearnerRole:
    """One feed's learner: the only reader of its sample streams."""

    _last: Commit
    _parent: str
    _watermark_ms: int
    _positions: dict[int, str]
    _draft: Draft
    _since: float

    def __init__(
        self, feed: str, shards: int, store: Store, registry: Registry, learner: Learner, rules: "CommitRules"
    ) -> None:
        self._feed, self._shards, self._store, self._registry = feed, range(shards), store, registry
        self._learner, self._rules = learner, rules
        self._fingerprint = commits.fingerprint()
        self._recover({})
        self._trim()  # whoever made the last commit may have died before
        self._attempts = Attempts(store, feed, self._last.number)
        self._note()

    def step(self, block_ms: int) -> bool:
        """Read what is there, learn it, commit when it is time; returns whether there was anything."""
        watermark = min(self._store.shard(self._feed, shard).watermark_ms for shard in self._shards)
        found = False
        for shard in self._shards:
            try:
                entries = self._store.read(self._feed, shard, self._positions[shard], READ_AT_ONCE)
            except HistoryChanged:
                self._go_back()
                return True
            if entries:
                found = True
                if not self._learn(shard, entries):
                    return True
                self._positions[shard] = entries[-1][0]
        self._watermark_ms = max(self._watermark_ms, watermark)
        due = self._rules.due(self._last.watermark_ms, self._watermark_ms)
        committed = self._is_time(due)
        if committed:
            self._commit(due)
        if found or committed:
            self._note()
        if not found:
            self._store.wait(self._feed, self._positions, block_ms)
        return found

    def _is_time(self, due: Due | None) -> bool:
        count = len(self._draft.samples)
        full = due is not None or self._rules.full(count, self._since, self._last, self._watermark_ms)
        return bool(self._draft.quarantined) or (count > 0 and full)

    def _learn(self, shard: int, entries: Sequence[Entry]) -> bool:
        """Learn the entries; False if some could not be, and the state is that of the last commit again."""
        for part in self._parts(shard, entries):
            batch = Span(shard, number(part[0][0]), number(part[-1][0]))
            alone = self._attempts.alone(batch) and len(part) == 1
            reason = DIED if alone and self._attempts.deadly(batch) else self._try(batch, part, alone)
            if reason is None:
                continue
            if not alone:
                failures = self._attempts.failed(batch)
                logging.getLogger("shadowstream").warning(
                    "learner: samples %d to %d of shard %d: %s (failure %d since commit %d); trying again from there",
                    batch.first, batch.last, shard, reason, failures, self._last.number,
                )  # fmt: skip
                self._recover({})
                return False
            self._quarantine(shard, part[0], reason)
        return True

    def _parts(self, shard: int, entries: Sequence[Entry]) -> Iterator[Sequence[Entry]]:
        """Cut into micro-batches; those that are suspected stand alone."""
        for suspected, group in groupby(entries, lambda e: self._attempts.alone(Span(shard, *[number(e[0])] * 2))):
            part = list(group)
            yield from [[one] for one in part] if suspected else self._learner.batches(part)

    def _try(self, batch: Span, part: Sequence[Entry], alone: bool) -> str | None:
        """Learn one micro-batch; gives why it cannot be. A sample alone then leaves the state as it was."""
        before = commits.pack_state(self._learner.state()) if alone else None
        self._attempts.announce(batch)
        try:
            samples = [read_sample(data) for _, data in part]
            shadow = self._learner.learn(samples).tolist()
        except Exception as wrong:  # noqa: BLE001 a user's model may raise anything; at last the sample is quarantined
            if before is not None:
                self._learner.load(commits.unpack_state(before))
            return f"{type(wrong).__name__}: {wrong}"
        places = [(batch.shard, number(position)) for position, _ in part]
        self._draft.add(places, [data for _, data in part], shadow, max(s.prediction.t for s in samples))
        return None

    def _quarantine(self, shard: int, entry: Entry, reason: str) -> None:
        position, data = entry
        logging.getLogger("shadowstream").warning("learner: quarantined %s of shard %d: %s", position, shard, reason)
        text = data.decode(errors="replace")
        self._draft.quarantined.append(Quarantined(shard=shard, position=position, reason=reason, sample=text))

    def _commit(self, due: Due | None, void: dict[str, str] | None = None) -> None:
        n, draft = self._last.number + 1, self._draft
        keep_state = due is not None or void is not None or n % STATE_EVERY == 0
        commit = Commit(
            number=n,
            parent=self._parent,
            learned=self._learner.learned,
            samples=draft.samples,
            runs=draft.runs,
            batches=draft.batches,
            shadow=draft.shadow,
            intercept=self._learner.intercept.value,
            positions={str(shard): position for shard, position in self._positions.items()},
            watermark_ms=self._watermark_ms,
            latest_ms=max(self._last.latest_ms, draft.latest_ms),
            due=due,
            quarantined=draft.quarantined,
            void=void or {},
            fingerprint=self._fingerprint,
            state=self._registry.put(commits.pack_state(self._learner.state())) if keep_state else None,
        )
        data = commits.encode(commit)
        if not self._registry.write(COMMITS, n, data):
            raise LostRace(f"commit {n} was made by another learner")
        self._stand_at(commit, data)
        self._attempts.begin(n)
        self._trim()

    def _trim(self) -> None:
        for shard, position in self._positions.items():
            self._store.trim(self._feed, shard, position)

    def _go_back(self) -> None:
        """Take back what the store no longer holds: rebuild without it, and commit that it is void."""
        if self._registry.last(COMMITS, self._last.number) > self._last.number:
            raise LostRace("another learner has committed, and trimmed what this one stood at")
        void = {}
        for shard in self._shards:
            if not self._store.holds(self._feed, shard, self._last.positions.get(str(shard), NOTHING)):
                void[str(shard)] = self._known(shard)
        self._recover(void)
        self._attempts.begin(self._last.number)
        if void:
            logging.getLogger("shadowstream").warning("learner: the store went back in time; void behind %s", void)
            self._positions |= {int(shard): position for shard, position in void.items()}
            self._commit(None, void)
        self._note()

    def _known(self, shard: int) -> str:
        """Give the newest position of a shard's commits that its stream still has."""
        for commit in backwards(self._registry, self._last.number):
            position = commit.positions.get(str(shard), NOTHING if commit.number == 0 else None)
            if position is not None and self._store.holds(self._feed, shard, position):
                return position
        raise HistoryChanged(f"{self._feed}.{shard}: the stream holds no position of any commit; it is another feed's")

    def _stand_at(self, commit: Commit, data: bytes) -> None:
        self._last, self._parent = commit, hashlib.sha256(data).hexdigest()
        self._watermark_ms = commit.watermark_ms
        self._positions = {shard: commit.positions.get(str(shard), NOTHING) for shard in self._shards}
        self._draft = Draft()
        self._since = time.monotonic()

    def _recover(self, void: dict[str, str]) -> None:
        """Stand at the newest commit, without what is `void`."""
        last = self._registry.last(COMMITS)
        data = self._registry.read(COMMITS, last)
        if data is None:
            raise RegistryError("there is no commit 0: the feed was not created")
        rebuild(self._learner, self._registry, last, void)
        self._stand_at(commits.decode(data), data)

    def _note(self) -> None:
        positions = {str(shard): position for shard, position in self._positions.items()}
        learner = self._learner
        note = LearnerNote(learner.learned, learner.intercept.value, positions, self._last.number, self._watermark_ms)
        self._store.put(self._feed, LEARNER.entry(note) | self._attempts.note)


class CommitRules:
    """When a commit is made: enough samples, enough time, a new day of the watermark; and when a candidate is due."""

    def __init__(self, samples: int, seconds: float, every_days: float) -> None:
        self._samples, self._seconds, self._every_ms = samples, seconds, every_days * DAY_MS

    def full(self, count: int, since: float, last: Commit, watermark_ms: int) -> bool:
        """Tell whether to commit `count` samples now, `since` being when the last commit was made."""
        new_day = watermark_ms // DAY_MS > last.watermark_ms // DAY_MS
        return new_day or count >= self._samples or time.monotonic() - since >= self._seconds

    def due(self, before_ms: int, now_ms: int) -> Due | None:
        """Tell whether the watermark has passed a point of the schedule: a whole multiple of its step since 1970."""
        if before_ms <= 0 or now_ms // self._every_ms == before_ms // self._every_ms:
            return None
        return Due("schedule", now_ms)
