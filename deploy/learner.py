"""The learner role: reads the sample streams, learns, writes commits, and only then trims.

Owns the order of these steps and the recovery. Does not know how a model learns (learners) or how streams are kept.
"""

import hashlib
import time
from collections.abc import Sequence

from msgspec import Raw

from deploy import records
from deploy.records import LearnerNote
from deploy.registry import Registry, RegistryError
from learners import commits
from learners.commits import Commit, Due
from learners.online import Learner
from streams.errors import HistoryChanged, ShadowstreamError
from streams.events import read_sample
from streams.store import Store

DAY_MS = 86_400_000
STATE_EVERY = 32  # commits between whole states: what a restart has to learn again at most
READ_AT_ONCE = 2_048


class LearnerRole:
    """One feed's learner: the only reader of its sample streams."""

    _last: Commit
    _parent: str
    _watermark_ms: int
    _latest_ms: int
    _positions: dict[int, str]
    _raws: list[Raw]
    _batches: list[int]
    _shadow: list[list[float]]
    _since: float

    def __init__(
        self, feed: str, shards: int, store: Store, registry: Registry, learner: Learner, rules: "CommitRules"
    ) -> None:
        self._feed, self._shards, self._store, self._registry = feed, range(shards), store, registry
        self._learner, self._rules = learner, rules
        self._fingerprint = commits.fingerprint()
        self._recover()

    def step(self, block_ms: int) -> bool:
        """Read what is there, learn it, commit when it is time; returns whether there was anything."""
        watermark = min(self._store.shard(self._feed, shard).watermark_ms for shard in self._shards)
        found = False
        for shard in self._shards:
            entries = self._read(shard)
            if entries:
                found = True
                self._learn(entries)
                self._positions[shard] = entries[-1][0]
        self._watermark_ms = max(self._watermark_ms, watermark)
        due = self._rules.due(self._last.watermark_ms, self._watermark_ms)
        committed = bool(self._raws) and (
            due is not None or self._rules.full(len(self._raws), self._since, self._last, self._watermark_ms)
        )
        if committed:
            self._commit(due)
        if found or committed:
            self._note()
        if not found:
            self._store.wait(self._feed, self._positions, block_ms)
        return found

    def _read(self, shard: int) -> list[tuple[str, bytes]]:
        try:
            return self._store.read(self._feed, shard, self._positions[shard], READ_AT_ONCE)
        except HistoryChanged:
            if self._registry.last("commits", self._last.number) > self._last.number:
                raise LostRace("another learner has committed, and trimmed what this one stood at") from None
            raise

    def _learn(self, entries: Sequence[tuple[str, bytes]]) -> None:
        samples = [read_sample(data) for _, data in entries]
        for batch in self._learner.batches(samples):
            self._shadow += self._learner.learn(batch).tolist()
            self._batches.append(len(batch))
        self._latest_ms = max(self._latest_ms, max(s.prediction.t for s in samples))
        self._raws += [Raw(data) for _, data in entries]

    def _commit(self, due: Due | None) -> None:
        number = self._last.number + 1
        keep_state = due is not None or number % STATE_EVERY == 0
        commit = Commit(
            number=number,
            parent=self._parent,
            learned=self._learner.learned,
            samples=self._raws,
            batches=self._batches,
            shadow=self._shadow,
            intercept=self._learner.intercept.value,
            positions={str(shard): position for shard, position in self._positions.items()},
            watermark_ms=self._watermark_ms,
            latest_ms=self._latest_ms,
            due=due,
            fingerprint=self._fingerprint,
            state=self._registry.put(commits.pack_state(self._learner.state())) if keep_state else None,
        )
        data = commits.encode(commit)
        if not self._registry.create("commits", number, data):
            raise LostRace(f"commit {number} was made by another learner")
        self._stand_at(commit, data)
        for shard, position in self._positions.items():
            self._store.trim(self._feed, shard, position)

    def _stand_at(self, commit: Commit, data: bytes) -> None:
        self._last, self._parent = commit, hashlib.sha256(data).hexdigest()
        self._watermark_ms, self._latest_ms = commit.watermark_ms, commit.latest_ms
        self._positions = {shard: commit.positions.get(str(shard), "0-0") for shard in self._shards}
        self._raws = []
        self._batches = []
        self._shadow = []
        self._since = time.monotonic()

    def _recover(self) -> None:
        last = self._registry.last("commits")
        history: list[tuple[Commit, bytes]] = []
        for number in range(last, -1, -1):
            data = self._registry.read("commits", number)
            if data is None:
                raise RegistryError(f"commit {number} is missing although there are later ones")
            history.append((commits.decode(data), data))
            if history[-1][0].state is not None:
                break
        if not history:
            raise RegistryError("there is no commit 0: the feed was not created")
        base = history[-1][0]
        self._learner.load(commits.unpack_state(self._registry.get(str(base.state))))
        for commit, _ in reversed(history[:-1]):
            commits.fold(self._learner, commit)
        self._stand_at(*history[0])
        self._note()

    def _note(self) -> None:
        positions = {str(shard): position for shard, position in self._positions.items()}
        learner = self._learner
        note = LearnerNote(learner.learned, learner.intercept.value, positions, self._last.number, self._watermark_ms)
        self._store.put(self._feed, {"learner": records.encode(note)})


class LostRace(ShadowstreamError):
    """Another learner wrote the next commit; this one must start again from there."""


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
