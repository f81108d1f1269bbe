"""The distiller role: makes a candidate of the learner's state after each commit that says that one is due.

Owns the replay, which holds the newest samples of the commits, and when a candidate is made. Does not know how a
candidate is judged.
"""

import time

from torch import Tensor

from compressors.artifact.make import Made
from compressors.data import Data
from deploy.engine import find
from deploy.learning.candidates import distil, kind_beside, make_learner, privacy
from deploy.lineages import Lineages
from deploy.pipeline import Pipeline
from deploy.registry.candidates import add
from deploy.registry.commits import backwards, base, newest, read
from deploy.registry.follow import Follower
from deploy.registry.kinds import BLOCKS, CANDIDATES, CHAMPIONS, COMMITS, DISTILLER, LEARNER
from deploy.registry.notes import DistillerNote
from deploy.registry.rebuild import rebuild
from deploy.registry.records import By, Candidate
from deploy.registry.registry import Registry
from deploy.registry.states.kept import Kept
from learners.commits.commit import Commit
from learners.evaluation.verdict import Kind
from learners.online.batches import Newest
from streams.events import Sample
from streams.join.store import Store

PATIENCE_S = 10.0  # for a state that is being written; it takes a second where there are 20 million parameters
LOOK_S, FAR_S = 0.01, 0.5  # between two looks for it; those at a bucket are paid for


class DistillerRole(Follower):
    """Takes the commits in their order, and makes one candidate for each that says that one is due.

    It goes on after the newest of which there is one: what it needs of those before is in the log's end.
    """

    def __init__(self, pipeline: Pipeline, store: Store, registry: Registry, *, engines: bool = False) -> None:
        """With `engines`, each candidate gets an engine that is proven, or the reason why torch runs it."""
        super().__init__(pipeline.name, store, (BLOCKS.name, LEARNER.name), far=not registry.home.local)
        self._pipeline, self._registry = pipeline, registry
        self._learner, self._lineages = make_learner(pipeline, registry), Lineages(pipeline, registry)
        self._replay: Newest[Sample] = Newest(pipeline.online.replay)
        self._commit, self._candidate, self._engines = -1, registry.last(CANDIDATES), engines
        self._rounds = 1  # how often a sample may have been learned
        self._go_on()

    def _go_on(self) -> None:
        """Begin after the newest commit of which a candidate was made; of earlier ones the newest samples are read."""
        made = [one.commit for one in self._registry.records(CANDIDATES) if not one.by]
        before = base(self._registry)
        begins = before.number if before else 0
        self._commit = max(min(max(made, default=-1), self._registry.last(COMMITS)), begins - 1)
        if self._commit >= begins:
            self._remember_again(self._commit)
        if self._pipeline.online.private:
            commits = (read(self._registry, n) for n in range(begins, self._commit + 1))
            self._rounds += before.rounds if before else 0
            self._rounds += sum(1 for commit in commits if commit.void or commit.doubted)

    def _take(self) -> bool:
        commit = self._registry.record(COMMITS, self._commit + 1)
        if commit is None:
            return False
        if commit.void or commit.doubted:
            self._remember_again(commit.number)
            self._rounds += 1
        else:
            self._remember(commit)
        if commit.due is not None and commit.learned:  # earlier releases said it of marks alone, too
            self._make(commit)
        self._commit = commit.number
        return True

    def _notes(self) -> dict[str, bytes]:
        return DISTILLER.entry(DistillerNote(self._commit, self._candidate))

    def _remember_again(self, last: int) -> None:
        """Fill the replay with what remains up to the commit `last`, which took samples back."""
        self._replay = Newest(self._pipeline.online.replay)
        for commit in newest(backwards(self._registry, last), self._pipeline.online.replay):
            self._remember(commit)

    def _remember(self, commit: Commit) -> None:
        samples = commit.read()
        if samples:
            self._replay.add(samples)

    def _make(self, commit: Commit) -> None:
        if any(made.commit == commit.number and not made.by for made in self._registry.records(CANDIDATES)):
            return
        state = self._awaited(commit)
        if state is None:
            rebuild(self._learner, self._registry, commit.number)
        else:
            self._learner.load(state)
        made, figures, data = distil(
            self._pipeline, self._learner, list({sample.id: sample for sample in self._replay}.values()), commit.due
        )
        candidate = Candidate(
            number=-1,
            commit=commit.number,
            learned=commit.learned,
            at_ms=commit.watermark_ms,
            reason=commit.due.reason if commit.due else "",
            since_ms=commit.due.since_ms if commit.due else None,
            artifact=self._registry.put(made.artifact),
            figures=figures,
            refused=made.refusal,
            engine=self._engine(made, data),
            privacy=privacy(self._pipeline, self._rounds),
            kind=self._kind(),
            pipeline=max(0, self._lineages.newest),
        )
        self._candidate = add(self._registry, candidate, made.artifact)

    def _awaited(self, commit: Commit) -> dict[str, Tensor] | None:
        """Return the state after a commit, which the learner writes once it is made; None if that does not come."""
        until_s, look_s = time.monotonic() + PATIENCE_S, LOOK_S if self._registry.home.local else FAR_S
        kept = Kept(self._registry)
        while (state := kept.of(commit)) is None and kept.may_come(commit) and time.monotonic() < until_s:
            time.sleep(look_s)
            kept = Kept(self._registry)
        return state

    def _kind(self) -> Kind:
        """Return what a candidate is to what serves: a refresh of the same model by the same recipe, or another."""
        champion = self._registry.record(CHAMPIONS, self._registry.last(CHAMPIONS))
        if champion and champion.sync_of is not None:
            champion = self._registry.record(CHAMPIONS, champion.sync_of)
        return kind_beside(champion, self._pipeline, self._lineages, self._registry)

    def _engine(self, made: Made, data: Data) -> By:
        if made.refusal or not self._engines:
            return None
        return find(self._registry, made.artifact, self._pipeline.model, data)
