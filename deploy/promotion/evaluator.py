"""The evaluator role: takes the commits, tests each candidate's artifact, and writes verdicts and metrics.

A candidate goes on trial once the watermark has passed the commit that made it due by `Promotion.rest_ms`, and the
evaluator waits for it there: so it is made beside the loop, and verdicts follow from the log, however long that takes.
Owns reading and writing. Does not know how a candidate is judged (learners/evaluation/), or what becomes of a verdict.
"""

import logging
import time
from collections.abc import Sequence
from contextlib import suppress

import torch
from msgspec.structs import replace
from torch import Tensor

from deploy.engine import Running
from deploy.lineages import Lineages
from deploy.pipeline import Pipeline
from deploy.promotion.decisions import Rules
from deploy.promotion.recomputed import Recomputed, alarm_of
from deploy.promotion.resuming import Awaited, Held, Summaries, model_of
from deploy.promotion.said import beside, canary, metrics, noted
from deploy.registry.commits import known, taken_back
from deploy.registry.follow import Board, Follower
from deploy.registry.kinds import (
    ALARMS,
    BLOCKS,
    CANDIDATES,
    CHAMPIONS,
    COMMITS,
    DISTILLER,
    DRIFT,
    EVALUATOR,
    LEARNER,
    METRICS,
    ORDERS,
    STEPS,
    VERDICTS,
)
from deploy.registry.notes import (
    DriftNote,
    EvaluatorNote,
    Metrics,
)
from deploy.registry.records import Alarm, CanaryStep, Candidate, Champion
from deploy.registry.registry import Registry
from deploy.registry.reigns import barred, base, versions
from learners.evaluation.canary import ALL
from learners.evaluation.evaluate import Evaluator
from learners.evaluation.trials.timing import Timing
from learners.evaluation.trials.trial import Entry
from learners.evaluation.trials.trials import Reign
from learners.evaluation.verdict import Decision, Verdict
from learners.live.features.fields import NONE, Fields
from learners.live.settings import Live
from streams.errors import ConfigError, NotResumable, RegistryError

FOLDED_S = 5.0  # of work, after which a summary is written
MOST = 10_000  # versions whose records are remembered
METRICS_EVERY_S = 0.5  # metrics are for people, who need them no more often


class EvaluatorRole(Follower):
    """Takes one feed's commits: all, or those after a summary, with which it comes to the same, bit for bit.

    Without a summary it begins where the log does. Where old samples were let go, that is with the version that served
    then; tests that went on then begin anew, and metrics are of the samples from there on.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        timing: Timing,
        store: Board,
        registry: Registry,
        *,
        engines: bool = True,
        summaries: bool = True,
    ) -> None:
        """With `engines`, a candidate is run as it will be served; without, by torch. With `summaries`, it goes
        on from the newest of its summaries, and writes others.

        Raises:
            RegistryError: there is no version 0.
        """
        super().__init__(pipeline.name, store, (BLOCKS.name, LEARNER.name, DISTILLER.name), far=not registry.home.local)
        self._pipeline, self._registry = pipeline, registry
        encoder, rate = pipeline.encoder(), pipeline.online.intercept_rate
        self._lineages = Lineages(pipeline, registry, engines=engines)
        first = first_version(self._lineages, registry)
        self._evaluator = Evaluator(
            pipeline.task, encoder, pipeline.promotion, rate, timing, first, self._artifact,
            model_of=self._model, share_of=self._share, before=self._before, waits=self._waits,
            watched=watched(pipeline), slices=pipeline.slices, theirs=pipeline.theirs is not None,
        )  # fmt: skip
        self._recomputed = Recomputed(pipeline, registry)
        self._champions = dict[int, Champion]()
        self._version, self._alarms = 0, 0  # the newest version that was taken note of; how many alarms there were
        self._commit, self._candidate, self._verdicts = -1, -1, 0
        self._read = -1  # the newest candidate that was read
        self._doubt = ""
        self._awaits = list[Awaited]()  # the commits whose candidates are being made, or wait for their moment
        self._made = list[Candidate]()  # candidates that are not on trial yet
        self._begins, self._over = 0, set[int]()  # the log's first commit; the candidates whose tests were over there
        self._reigned = list[Champion]()  # what served there, until that commit is taken
        self._metrics: dict[str, bytes] = {}
        self._measured, self._measured_at_s = -1, 0.0
        self._folded_s, self._kept, self._whole = 0.0, (-1, 0), True  # since the newest summary; its commit, verdicts
        self._summaries = Summaries(pipeline, timing, registry, first.key, engines=engines) if summaries else None
        self._resume()

    def _take(self) -> bool:
        """Put the next candidate whose moment has come on trial, else take the next commit, if there is one."""
        while candidate := self._registry.record(CANDIDATES, self._read + 1):
            self._read = candidate.number
            self._made += [] if candidate.number in self._over else [candidate]
        begun = self._commit >= self._begins
        if begun and (brought := next((one for one in self._made if one.by and one.commit <= self._commit), None)):
            self._start(brought)
            return True
        commit = self._registry.record(COMMITS, self._commit + 1)
        if commit is None:
            return False
        if begun and self._awaits and commit.watermark_ms >= self._awaits[0].until_ms:
            return self._start_due(self._awaits[0].commit)
        began_s, self._whole = time.monotonic(), False
        if commit.void or commit.doubted:
            self._evaluator.expect(taken_back(self._registry, commit))
        self._write(self._evaluator.take(commit))
        self._commit = commit.number
        self._follow_champions()
        self._raise_alarms()
        self._end_step()
        if mismatch := self._recomputed.take(self._evaluator.entries, commit):
            self._raise(mismatch)
        if commit.due and commit.learned:  # else the distiller makes none
            self._awaits.append(Awaited(commit.number, commit.watermark_ms + self._pipeline.promotion.rest_ms))
        self._whole, self._folded_s = True, self._folded_s + time.monotonic() - began_s
        if self._folded_s >= FOLDED_S or self._verdicts > self._kept[1]:
            self.keep()
        return True

    def _resume(self) -> None:
        """Go on from the newest summary, if there is one."""
        found = self._summaries.newest() if self._summaries else None
        if found is None:
            self._begin()
            return
        summary, commit = found
        models = dict[str, Running]()

        def model(key: str) -> Running:
            if key not in models:
                models[key] = model_of(self._registry, self._lineages, key)
            return models[key]

        held = summary.held
        self._evaluator.restore(summary.evaluator, commit, model, lambda n: self._registry.record(VERDICTS, n))
        self._recomputed.restore(held.recomputed)
        self._version, self._alarms, self._candidate = held.version, held.alarms, held.candidate
        self._verdicts, self._read, self._doubt, self._awaits = held.verdicts, held.read, held.doubt, held.awaits
        self._made = [made for number in held.made if (made := self._registry.record(CANDIDATES, number))]
        self._commit, self._kept = commit.number, (commit.number, held.verdicts)

    def _begin(self) -> None:
        """Begin at the log's first commit, with what served then; tests that went on then begin right after it."""
        self._begins = self._registry.begins()
        if not self._begins:
            return
        self._commit = self._begins - 1
        served = [one for one in versions(self._registry) if one.sync_of is None and (one.commit or 0) <= self._begins]
        reigned = {base(served).number, served[-1].number}  # the other one is a canary
        self._reigned = [one for one in served if one.number and one.number in reigned]
        self._evaluator.bar(barred(served))
        for one in self._registry.records(CANDIDATES):
            verdict = self._registry.record(VERDICTS, one.number)
            over = one.refused is not None or (verdict is not None and verdict.commit <= self._begins)
            if one.commit < self._begins and over:
                self._over.add(one.number)
                self._verdicts += verdict is not None
            elif one.commit < self._begins and not one.by:
                self._awaits.append(Awaited(one.commit, 0))

    def keep(self) -> None:
        """Write a summary, unless the newest one is of this commit or a commit was taken in part."""
        if self._summaries is None or not self._whole or self._commit <= self._kept[0]:
            return
        self._folded_s, self._kept = 0.0, (self._commit, self._verdicts)
        try:
            state = self._evaluator.state()
        except NotResumable as wrong:
            logging.getLogger("shadowstream").warning("evaluator: no summary is written: %s", wrong)
            self._summaries = None
            return
        held = Held(
            version=self._version, alarms=self._alarms, candidate=self._candidate, verdicts=self._verdicts,
            read=self._read, doubt=self._doubt, awaits=self._awaits, made=[one.number for one in self._made],
            recomputed=self._recomputed.state(),
        )  # fmt: skip
        self._summaries.keep(self._commit, held, state)

    def _start_due(self, commit: int) -> bool:
        """Put the candidate that was made of a commit on trial; return False if there is none yet."""
        made = next((one for one in self._made if not one.by and one.commit >= commit), None)
        if made is None:
            return False
        self._awaits.pop(0)
        if made.commit == commit:  # else an earlier release made none
            self._start(made)
        return True

    def _start(self, candidate: Candidate) -> None:
        """Put a candidate on trial, unless it was refused."""
        self._whole = False
        self._made.remove(candidate)
        self._candidate, self._doubt = max(self._candidate, candidate.number), self._evaluator.doubt or ""
        if candidate.refused is None:
            entry = Entry(candidate.number, candidate.artifact, candidate.kind, self._reach_ms(candidate))
            known = self._registry.record(VERDICTS, candidate.number)
            try:
                model = self._lineages.load(candidate)
            except RegistryError:
                if known is None or (known.decision is Decision.PROVEN and not known.waits):
                    raise
                self._verdicts += 1  # it stands, though the artifact has gone, as gc takes old ones
                self._evaluator.pass_over(entry, known)
            else:
                self._write(self._evaluator.start(entry, model, known))
        self._whole = True

    def _reach_ms(self, candidate: Candidate) -> int:
        """Return the newest prediction of which a candidate's maker may have known anything.

        What a person has brought may know all that was learned when they did, also where it goes on trial before that.
        """
        commit = known(self._registry, candidate.commit) if candidate.by else None
        known_ms = max(commit.latest_ms, commit.watermark_ms) if commit else -1
        return max(self._evaluator.reach_ms, known_ms)

    def _raise_alarms(self) -> None:
        for one in self._evaluator.sightings:
            self._raise(alarm_of(one))
        self._evaluator.sightings = []

    def _raise(self, alarm: Alarm) -> None:
        """Write an alarm, unless an evaluator before has; what servers saw has numbers in between."""
        while True:
            number, self._alarms = self._alarms, self._alarms + 1
            if self._registry.create(ALARMS, number, replace(alarm, number=number)):
                return
            there = self._registry.record(ALARMS, number)
            if there and _sight(there) == _sight(alarm):
                return

    def _follow_champions(self) -> None:
        """Take note of versions that serve by other than a verdict, each once the commit is taken at which it began."""
        for reigned in self._reigned:
            self._crown(reigned, bar=False)
            self._evaluator.number(reigned.number, reigned.offset)  # of its share
        self._reigned = []
        while champion := self._champion(self._version + 1):
            reign = self._evaluator.trials.champion
            if champion.sync_of is not None:
                if champion.commit is None or champion.commit >= self._commit:
                    return  # it was made of that commit, and has answered nothing that was learned by then
                self._evaluator.sync(champion.number, champion.reign, champion.offset)
            elif champion.artifact == reign.key:
                if champion.commit is not None and champion.commit > self._commit:
                    return  # another share of a canary
                self._evaluator.number(champion.number, champion.offset)
            elif champion.commit is None or champion.commit > self._commit or not champion.by:
                return
            else:
                self._crown(champion, bar=champion.back_to is not None)
            self._version = champion.number

    def _crown(self, champion: Champion, *, bar: bool) -> None:
        crowned = Reign(champion.number, champion.artifact, self._model(champion.number), -1)
        self._write(self._evaluator.crown(crowned, champion.offset, bar=bar))
        self._version = champion.number

    def _end_step(self) -> None:
        """Write down how the step of a canary has ended, once it has."""
        champion = self._champion(self._version)
        if champion is None or champion.share == ALL or self._registry.record(STEPS, self._version):
            return
        found = self._evaluator.step(-1 if champion.candidate is None else champion.candidate)
        if found is None:
            return
        gained, guards = found
        made = CanaryStep(
            version=self._version,
            share=champion.share,
            own=self._evaluator.steps.own(self._version).samples,
            against=gained.against,
            samples=gained.samples,
            gain=gained.gain,
            guards=guards,
            at_ms=self._evaluator.settled_ms,
            commit=self._commit,
        )
        self._registry.create(STEPS, self._version, made)

    def _champion(self, version: int) -> Champion | None:
        """Return a version's record, which is read once while it is among the newest."""
        if version not in self._champions and (champion := self._registry.record(CHAMPIONS, version)):
            self._champions[version] = champion
            if len(self._champions) > MOST:
                del self._champions[next(iter(self._champions))]
        return self._champions.get(version)

    def _model(self, version: int) -> Running:
        """Return what runs a version.

        Raises:
            RegistryError: there is no such version.
        """
        champion = self._champion(version)
        if champion is None:
            raise RegistryError(f"there is no version {version}")
        return self._lineages.load(champion)

    def _artifact(self, version: int) -> str | None:
        champion = self._champion(version)
        return champion.reign if champion else None

    def _before(self, version: int) -> list[int]:
        """Return the versions before one that have answered all requests, but for syncs, the newest first."""
        found, number = list[int](), version - 1
        while number >= 0 and (one := self._champion(number)):
            if one.sync_of is not None:
                number = one.sync_of
                continue
            found += [number] if one.share == ALL else []
            number -= 1
        return found

    def _waits(self, artifact: str) -> str:
        """Return why an artifact that is proven now waits for a person, "" if it takes over by itself."""
        rules = Rules(self._pipeline.promotion.policy)
        for order in self._registry.records(ORDERS):
            rules.hear(order)
        return rules.holds(artifact, versions(self._registry))

    def _share(self, version: int) -> float:
        champion = self._champion(version)
        return champion.share if champion else ALL

    def _write(self, verdicts: Sequence[Verdict]) -> None:
        for verdict in verdicts:
            self._registry.create(VERDICTS, verdict.candidate, verdict)
        self._verdicts += len(verdicts)

    @property
    def metrics(self) -> Metrics:
        """The metrics so far."""
        return metrics(self._evaluator)

    def _notes(self) -> dict[str, bytes]:
        trials = tuple(noted(trial, self._evaluator.settled_ms) for trial in self._evaluator.trials.all)
        if self._measured < self._commit and time.monotonic() - self._measured_at_s > METRICS_EVERY_S:
            self._measured, self._measured_at_s = self._commit, time.monotonic()
            self._metrics = METRICS.entry(metrics(self._evaluator)) | DRIFT.entry(
                DriftNote(self._evaluator.measured.drift.changes)
            )
        note = EvaluatorNote(
            self._commit,
            self._candidate,
            self._verdicts,
            trials,
            self._doubt,
            self._alarms,
            beside(self._evaluator.beside),
            canary(self._evaluator),
        )
        return EVALUATOR.entry(note) | self._metrics


def _sight(alarm: Alarm) -> tuple[object, ...]:
    """Return what tells an alarm from others."""
    return alarm.kind, alarm.champion, alarm.back_to, alarm.detector, alarm.artifact, alarm.commit


class First:
    """Version 0, which answers without the live intercept."""

    def __init__(self, running: Running, offset: Tensor) -> None:
        self._running, self._offset = running, offset
        self.model, self.encoder = running.model, running.encoder

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Return the raw outputs plus the version's offset, shape (N, K)."""
        output = self._running(*inputs)
        return output + self._offset.to(output)


def first_version(lineages: Lineages, registry: Registry) -> Reign:
    """Return version 0.

    Raises:
        RegistryError: there is no version 0.
    """
    first = registry.record(CHAMPIONS, 0)
    if first is None:
        raise RegistryError(f"{registry.home} holds no champion: the feed was not created")
    running = lineages.load(first)
    return Reign(0, first.artifact, First(running, torch.tensor(first.offset, dtype=torch.float64)), -1)


def watched(pipeline: Pipeline) -> Fields:
    """Return the fields whose drift is named: those that live experts read, or could read."""
    live = pipeline.live if isinstance(pipeline.live, Live) else Live()
    with suppress(ConfigError):
        return live.wide.fields(pipeline.features)
    return NONE
