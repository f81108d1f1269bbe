"""The learner role: reads the sample streams, learns, writes commits, and only then trims.

Owns the order of these steps, and the return to the last commit where one fails or the store went back in time. Does
not know how a model learns (learners), how failures are counted (attempts.py) or how streams are kept.
"""

import logging
import time
from collections.abc import Iterator, Sequence
from itertools import groupby

from deploy.learning.arrived import Arrived
from deploy.learning.attempts import Attempts, Span
from deploy.learning.blocks import Blocks
from deploy.learning.opened import Heard, Opened, offsets
from deploy.learning.rules import CommitRules
from deploy.learning.syncs import Syncs
from deploy.learning.withheld import Notices, rule
from deploy.registry.commits import backwards
from deploy.registry.held import distrusted, doubted, waiting
from deploy.registry.kinds import ASKED, COMMITS, LEARNER, RULINGS, SYNC, TOLD
from deploy.registry.notes import LearnerNote
from deploy.registry.rebuild import rebuild
from deploy.registry.registry import Registry
from deploy.registry.states.beside import States
from deploy.registry.states.kept import turn
from learners.commits import commit as commits
from learners.commits.commit import Due, Quarantined
from learners.commits.draft import Draft, after
from learners.commits.state import pack_state, unpack_state
from learners.commits.voids import ALL, Bounds, Slot, lowered
from learners.labels.holds import left
from learners.online.learner import Learner
from learners.packing import shortest
from streams.errors import ConfigError, HistoryChanged, LetGo, LostRace, RegistryError
from streams.events import WAITING
from streams.join.step import ShardState
from streams.join.store import NOTHING, Store, StoredSample
from streams.outputs.samples import number
from streams.readers import read_sample

ASK_EVERY_S = 1.0  # for a person's word, where the registry is a bucket
READ_AT_ONCE = 2_048  # samples of one shard
DIED = "the process died of it"
BEHIND = "Put a newer copy of the store back, or an empty one, which is made anew from commits and Kafka"


class LearnerRole:
    """One feed's learner: the only reader of its sample streams."""

    def __init__(
        self, feed: str, shards: int, store: Store, registry: Registry, learner: Learner, rules: CommitRules,
        window_ms: int = 0, marks_ms: Sequence[int] = (),
        syncs: Syncs | None = None,
    ) -> None:  # fmt: skip
        """`window_ms` is the join's, which live experts are told. With `syncs`, the shadow's average is to serve.

        At the ages `marks_ms` the evaluator must hear of what waits; they are the first that live experts ask for, too.
        """
        self._feed, self._shards, self._store, self._registry = feed, range(shards), store, registry
        self._learner, self._rules, self._window_ms, self._marks_ms = learner, rules, window_ms, tuple(marks_ms)
        self._coming: Opened | None = None
        self._heard: Heard | None = None
        self._notices, self._ask_at_s = Notices(), 0.0
        self._arrived, self._syncs, self._synced = Arrived(store, feed), syncs, -1
        self._states = States(registry, learner, rules.relearn_s)
        self._blocks: Blocks | None = None
        self._draft = self._recover()
        self._blocks = Blocks(store, feed, learner) if learner.live else None
        self._trim()  # the learner that made the last commit may have died before it trimmed
        self._attempts = Attempts(store, feed, self._draft.last.number)
        self._keep_what_was_learned_again()
        self._note()

    def step(self, block_ms: int) -> bool:
        """Read what is there, learn it, and commit when it is time; return whether there was a sample."""
        if self._rule() or self._take_back_doubted():
            return True
        states = [self._store.shard(self._feed, shard) for shard in self._shards]
        watermark_ms, any_read = min(state.watermark_ms for state in states), False
        self._coming = self._coming.looked(states) if self._coming else Opened.of(states)
        self._heard = self._heard or Heard.of(states)
        for shard in self._shards:
            try:
                entries = self._store.read(self._feed, shard, self._draft.positions[shard], READ_AT_ONCE)
            except HistoryChanged:
                self._go_back()
                return True
            if entries:
                any_read = True
                if not self._learn(shard, entries):
                    return True
        self._draft.watermark_ms = max(self._draft.watermark_ms, watermark_ms)
        if self._heard.reached(self._draft.positions):
            self._draft.heard_ms, self._heard = max(self._draft.heard_ms, self._heard.told_ms), None
        due, whole = self._rules.due(self._draft, self._learner.gap), not self._rules.paced or self._told(states)
        committed = self._rules.full(self._draft, part=not whole)
        if whole:
            committed = committed or (due is not None and bool(self._draft.samples))
            committed = committed or (not any_read and self._rules.at_rest(self._draft))
        if committed:
            self._commit(due)
        if committed or (any_read and not self._rules.at_rest(self._draft)):
            self._note()
        if not any_read:
            self._rest()
            self._store.wait(self._feed, self._draft.positions, block_ms)
        return any_read

    def _told(self, states: Sequence[ShardState]) -> bool:
        """Return whether all outcomes of a replay's slice are joined: then one commit has all that it brings."""
        asked, told = self._store.get(self._feed, ASKED.name, TOLD.name)
        begun, ended = ASKED.read(asked), TOLD.read(told)
        if begun is None or ended is None:
            return begun is None
        joined = all(at.next >= ended.ends.get(tp, 0) for state in states for tp, at in state.partitions.items())
        return ended.number >= begun.number and joined

    def _learn(self, shard: int, entries: Sequence[StoredSample]) -> bool:
        """Learn the entries; commit before a micro-batch where it is time: one may take long.

        Return False if one failed, and the state is that of the last commit again.
        """
        for part in self._parts(shard, entries):
            full = self._rules.full(self._draft, part=self._rules.paced)
            if full and not self._draft.quarantined:  # a suspected micro-batch ends first
                self._commit(None)
                self._note()
            batch = Span(shard, number(part[0].position), number(part[-1].position))
            alone = self._attempts.alone(batch) and len(part) == 1
            reason = DIED if alone and self._attempts.deadly(batch) else self._try(batch, part, alone)
            if reason is not None and not alone:
                failures = self._attempts.failed(batch)
                logging.getLogger("shadowstream").warning(
                    "learner: samples %d to %d of shard %d: %s (failure %d since commit %d); trying again from there",
                    batch.first, batch.last, shard, reason, failures, self._draft.last.number,
                )  # fmt: skip
                self._draft = self._recover()
                return False
            if reason is not None:
                self._quarantine(shard, part[0], reason)
            self._draft.positions[shard] = part[-1].position
        return True

    def _parts(self, shard: int, entries: Sequence[StoredSample]) -> Iterator[Sequence[StoredSample]]:
        """Cut into micro-batches; a suspected sample is one of its own."""

        def suspected(entry: StoredSample) -> bool:
            n = number(entry.position)
            return self._attempts.alone(Span(shard, n, n))

        for each_alone, group in groupby(entries, suspected):
            part = list(group)
            yield from [[entry] for entry in part] if each_alone else self._learner.batches(part)

    def _try(self, batch: Span, part: Sequence[StoredSample], alone: bool) -> str | None:
        """Learn one micro-batch; return None, or why that failed. A sample alone then leaves the state as it was."""
        before = pack_state(self._learner.state()) if alone else None
        self._attempts.announce(batch)
        try:
            with self._states.learning():
                samples = read_sample.each([entry.sample for entry in part])
                held = self._learner.sift(samples)
                shadow = shortest(self._learner.learn(samples, held))
        except ConfigError:
            raise  # no sample is at fault
        except Exception as wrong:  # noqa: BLE001 a user's model may raise anything; at last the sample is quarantined
            if before is not None:
                self._learner.load(unpack_state(before))
            return f"{type(wrong).__name__}: {wrong}"
        slots = [Slot(batch.shard, number(entry.position)) for entry in part]
        latest_ms = max((s.prediction.t for s in samples if s.kind != WAITING), default=0)
        self._draft.add(slots, [entry.sample for entry in part], shadow, latest_ms, held)
        self._arrived.add(part)
        if self._syncs:
            self._syncs.take(left(samples, held))
        return None

    def _rule(self) -> bool:
        """Take what a person has said next of a held source, in a commit of its own; return whether there was any."""
        if time.monotonic() < self._ask_at_s:
            return False
        if not self._registry.home.local:
            self._ask_at_s = time.monotonic() + ASK_EVERY_S
        ruling = self._registry.record(RULINGS, self._draft.ruled)
        if ruling is None:
            return False
        if self._draft.samples or self._draft.quarantined:
            self._commit(None)
        try:
            released = waiting(self._registry, ruling.source) if ruling.said == "release" else []
            rule(self._learner, self._draft, ruling, released)
        except Exception as wrong:  # noqa: BLE001 a user's model may raise anything; the samples stay held
            text = "learner: what %r has released cannot be learned, and stays held: %s: %s"
            logging.getLogger("shadowstream").warning(text, ruling.source, type(wrong).__name__, wrong)
            self._draft = self._recover()
            rule(self._learner, self._draft, ruling, [])
        self._commit(None)
        self._note()
        return True

    def _take_back_doubted(self) -> bool:
        """Take back what was learned of a source that is held since, in a commit; return whether there was any."""
        trust = self._learner.trust
        if trust is None or not trust.doubts:
            return False
        if self._draft.samples or self._draft.quarantined:
            self._commit(None)
        last, back = self._draft.last.number, doubted(self._registry, self._learner)
        for one in back:
            text = "learner: %d entries of %s, learned since its doubt began, are taken back and held"
            logging.getLogger("shadowstream").warning(text, sum(run.count for run in one.runs), one.source)
        self._draft = self._recover(lowered(ALL, {}, back))
        if self._draft.last.number > last:
            raise LostRace("another learner has committed, and what this one doubts is not what that one learned")
        trust.settle()
        self._draft.doubted = back
        self._commit(None, whole=True)
        self._note()
        return True

    def _quarantine(self, shard: int, entry: StoredSample, reason: str) -> None:
        position, data = entry.position, entry.sample
        logging.getLogger("shadowstream").warning("learner: quarantined %s of shard %d: %s", position, shard, reason)
        text = data.decode(errors="replace")
        self._draft.quarantined.append(Quarantined(shard=shard, position=position, reason=reason, sample=text))

    def _commit(self, due: Due | None, void: dict[str, str] | None = None, *, whole: bool = False) -> None:
        n = self._draft.last.number + 1
        self._count()
        if self._draft.heard_ms >= 0:
            self._learner.hear(self._draft.heard_ms)
        if due and due.since_ms is not None:
            self._learner.drifted(due.since_ms)
        before_ms = self._draft.last.watermark_ms
        shards = [self._store.shard(self._feed, shard) for shard in self._shards]
        read = offsets(shards, self._draft.last.offsets)
        data = commits.encode(self._draft.finish(self._learner, due, void or {}, read))
        if not self._registry.write(COMMITS, n, data):
            raise LostRace(f"commit {n} was made by another learner")
        self._store.ring(self._feed, LEARNER.name)  # the evaluator reads the commit while servers are told of it
        self._draft = after(data, self._shards, NOTHING)
        if whole or due is not None or self._states.due:
            self._states.take(n, self._draft.parent)
        self._attempts.begin(n)
        sync = self._syncs is not None and self._syncs.due(before_ms, self._draft.watermark_ms)
        arrived = self._arrived.committed(n, due=sync or due is not None)
        if self._blocks:
            self._blocks.publish(arrived)
        if sync:
            self._sync(n)
        self._trim()

    def _sync(self, n: int) -> None:
        """Offer the shadow's average after commit n, which is the newest, to the servers."""
        if self._syncs and (made := self._syncs.make(n)):
            self._store.put(self._feed, SYNC.entry(made))
            self._synced = n

    def _rest(self) -> None:
        """Offer what a feed has brought that fell silent: its watermark stands. A replay's time is its feed's alone."""
        n = self._draft.last.number
        if self._syncs is None or self._draft.samples or not self._syncs.rested(n):
            return
        if self._rules.paced and ASKED.read(*self._store.get(self._feed, ASKED.name)) is not None:
            return
        self._arrived.offered(n)
        self._sync(n)
        self._note()

    def keep(self) -> None:
        """Commit what was learned, and keep that state: at an orderly stop. A start then learns nothing again."""
        if self._draft.samples or self._draft.quarantined:
            self._commit(None)
        if self._draft.last.number > self._states.newest:
            self._states.take(self._draft.last.number, self._draft.parent)
        self._states.settle()

    def _count(self) -> None:
        """Tell the live experts how many predictions there were, once all outcomes up to then are learned."""
        if self._coming and self._coming.reached(self._draft.positions):
            self._draft.asked = (self._coming.newest_ms, self._coming.predictions, self._window_ms)
            self._learner.count(*self._draft.asked)
            self._coming = None

    def _trim(self) -> None:
        for shard, position in self._draft.positions.items():
            self._store.trim(self._feed, shard, position)

    def _go_back(self) -> None:
        """Take back what the store no longer has: rebuild the state without it, and commit that it is void."""
        last = self._draft.last
        if self._registry.last(COMMITS, last.number) > last.number:
            raise LostRace("another learner has committed, and trimmed what this one was to read next")
        void = {}
        for shard in self._shards:
            if not self._store.holds(self._feed, shard, last.positions.get(str(shard), NOTHING)):
                void[str(shard)] = self._known(shard)
        try:
            self._draft = self._recover(lowered(ALL, void))
        except LetGo as wrong:
            raise HistoryChanged(f"the store went back in time: {wrong}. {BEHIND}") from wrong
        self._attempts.begin(self._draft.last.number)
        if void:
            logging.getLogger("shadowstream").warning(
                "learner: the store went back in time; samples after %s are taken back", void
            )
            self._draft.positions |= {int(shard): position for shard, position in void.items()}
            self._commit(None, void, whole=True)
        self._note()

    def _known(self, shard: int) -> str:
        """Return the newest position of a shard's commits that its stream still has."""
        for commit in backwards(self._registry, self._draft.last.number):
            position = commit.positions.get(str(shard), NOTHING if commit.number == 0 else None)
            if position is not None and self._store.holds(self._feed, shard, position):
                return position
        if first := self._registry.begins():
            raise HistoryChanged(
                f"{self._feed}.{shard}: the stream holds no position of any commit from {first} on, where the log "
                f"begins, since older samples were let go (registry.keep_samples): it went back behind them. {BEHIND}"
            )
        raise HistoryChanged(f"{self._feed}.{shard}: the stream holds no position of any commit; it is another feed's")

    def _recover(self, but: Bounds = ALL) -> Draft:
        """Bring the learner to the newest commit `but` for what is taken back; return an empty draft that follows."""
        last = self._registry.last(COMMITS)
        data = self._registry.read(COMMITS, last)
        if data is None:
            raise RegistryError("there is no commit 0: the feed was not created")
        self._states.gone_on(lambda: rebuild(self._learner, self._registry, last, but))
        if self._blocks:
            self._blocks.begin()
        self._heard = None
        self._arrived.drop()
        if self._syncs:
            self._syncs.begin(last)
        return after(data, self._shards, NOTHING)

    def _keep_what_was_learned_again(self) -> None:
        """Commit the state of a log that another pipeline has just learned, and have a candidate made of it."""
        turned = turn(self._registry)
        if turned and self._draft.last.number <= turned.commit:
            reason = Due("pipeline", self._draft.watermark_ms) if self._learner.learned else None
            self._commit(reason, whole=True)

    def _note(self) -> None:
        learner, draft = self._learner, self._draft
        if learner.trust:
            self._notices.say(learner.trust)
        positions = {str(shard): position for shard, position in draft.positions.items()}
        note = LearnerNote(
            learner.learned,
            learner.intercept.value,
            positions,
            draft.last.number,
            draft.watermark_ms,
            len(draft.samples),
            (learner.live.marks_ms if learner.live else ()) or self._marks_ms,
            learner.live.line if learner.live else "",
            distrusted(learner.trust) if learner.trust else (),
            self._synced,
        )
        self._store.put(self._feed, LEARNER.entry(note) | self._attempts.note)
