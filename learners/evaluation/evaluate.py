"""Evaluation: commits in, verdicts and metrics out.

Owns with what a candidate goes on trial (`trials/`). Does not know files or actors: it is given commits and models.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import repeat
from typing import cast

import torch
from msgspec.structs import asdict
from torch import Tensor

from compressors.answers import Run
from compressors.data import Scaled
from compressors.scale import Scale
from learners.commits.commit import Commit
from learners.evaluation.beside import Beside, BesideState
from learners.evaluation.canary import ALL, Gained, Steps, StepsState
from learners.evaluation.earlier import answer_entries
from learners.evaluation.gate import Promotion
from learners.evaluation.guards.judge import Judged, judge
from learners.evaluation.guards.outputs import constant, finite
from learners.evaluation.measured import Measured, MeasuredState
from learners.evaluation.trials.admission import doubt
from learners.evaluation.trials.asked import RECENT
from learners.evaluation.trials.contestant import Contestant
from learners.evaluation.trials.timing import Timing
from learners.evaluation.trials.trial import Entry, Trial, refusal
from learners.evaluation.trials.trials import LAG_MS, Reign, Trials, TrialsState
from learners.evaluation.verdict import Against, Decision, Guard, Verdict
from learners.evaluation.watch.watch import Reference, Sighting, Watch, WatchState
from learners.labels.holds import left
from learners.live.features.fields import NONE, Fields
from learners.online.absent import Absent
from learners.online.batches import (
    Encoder,
    Newest,
    bare,
    completed,
    kind,
    labels,
)
from learners.online.intercept import Intercept
from learners.packing import pack_samples, scale_of, scaled, unpack_samples
from learners.tasks.task import Task
from streams.events import WAITING, Sample

FEW = 200  # samples that say too little of a feed's pace
AGO = (1, 2, 4, 8)  # reigns: the versions that are watched beside the champion
# samples: as many at least, and at most, are learned while a prediction waits for its outcome, or it has the oldest
# intercept that is known; in between it is known how many are
FEWEST, KEPT = 100_000, 1_000_000
WARM_UP = 2_000  # samples from which a candidate's intercept starts; it remembers about the last 600


class EvaluatorState(MeasuredState, kw_only=True):
    """All that an evaluator holds after a commit but models, and that commit; samples are as in commits."""

    scale: Scale | None
    absent: list[float]
    newest: list[bytes]
    returning: list[tuple[str, int]]
    trials: TrialsState
    watch: WatchState
    steps: StepsState
    barred: list[str]
    beside: BesideState | None
    offsets: list[tuple[float, ...]]


class Evaluator:
    """Takes the learner's commits in their order; `trials` are the candidates under test."""

    def __init__(
        self,
        task: Task,
        encoder: Encoder,
        policy: Promotion,
        rate: float,
        timing: Timing,
        first: Reign,
        artifact_of: Callable[[int], str | None],
        *,
        model_of: Callable[[int], Run] | None = None,
        share_of: Callable[[int], float] = lambda _: ALL,
        before: Callable[[int], Sequence[int]] | None = None,
        waits: Callable[[str], str] = lambda _: "",
        watched: Fields = NONE,
        slices: Sequence[str] = (),
        theirs: bool = False,
    ) -> None:
        """`first` is version 0, whose model answers without the live intercept; `rate` is that intercept's.

        `artifact_of` returns the artifact of a version, or the name of the syncs that it is one of, `model_of` what
        runs it: without that, no earlier version but the first is watched. `share_of` returns the share of the requests
        that it answers, `before` the versions before it that have answered all, but for syncs, and `waits` why an
        artifact that is proven waits for a person, "" if it takes over by itself. The drift of the fields `watched` is
        named, and what is served is measured by the values of each field of `slices`. With `theirs`, what is served is
        measured beside what another system has answered.
        """
        self._task, self._encoder, self._policy, self._rate = task, encoder, policy, rate
        self._timing, self._final_ms, self._first = timing, timing.final.negative_ms, first
        self._absent = Absent()
        self._newest: Newest[Sample] = Newest(WARM_UP)
        self._last: Commit | None = None
        self._exact = isinstance(task, Scaled)
        self._no_answer = torch.empty(0, task.outputs, dtype=kind(exact=self._exact))
        self._returning: set[tuple[str, int]] = set()
        self.trials = Trials(policy, timing, first, artifact_of, self._examine, waits, exact=self._exact)
        self.watch = Watch(task, timing, exact=self._exact)
        self._artifact_of, self._model_of, self._share_of = artifact_of, model_of, share_of
        self._before = before or self._all_before
        self.steps = Steps(policy.canary, lambda version: share_of(version) < ALL)
        self._barred = set[str]()
        self.beside = Beside(task, policy, timing, exact=self._exact) if theirs else None
        self.measured = Measured(task, first.model, rate, watched, slices, theirs=theirs)
        self.entries: Sequence[Sample] = ()  # of the commit that was taken last
        self.sightings = list[Sighting]()  # since the commit that was taken last
        # the offset of what answers most, () for version 0, of whose outputs it is a part; then those of canaries
        self._offsets: list[tuple[float, ...]] = [()]

    def state(self) -> EvaluatorState:
        """Return what the evaluator holds between two commits.

        Raises:
            NotResumable: a metric cannot say what it holds.
        """
        return EvaluatorState(
            **asdict(self.measured.state()),
            scale=scale_of(self._task),
            absent=self._absent.counts,
            newest=[pack_samples(batch) for batch in self._newest.batches],
            returning=sorted(self._returning),
            trials=self.trials.state(),
            watch=self.watch.whole(self._first.model),
            steps=self.steps.state(),
            barred=sorted(self._barred),
            beside=self.beside.state() if self.beside else None,
            offsets=self._offsets,
        )

    def restore(
        self,
        state: EvaluatorState,
        last: Commit,
        model_of: Callable[[str], Run],
        known: Callable[[int], Verdict | None],
    ) -> None:
        """Go on after the commit `last` from what an evaluator of the same feed and settings held there.

        `model_of` returns an artifact's model, and `known` the verdict on a candidate, where there is one.
        """
        task, rate, fields = self._task, self._rate, self.measured.fields
        self._last, self._absent.counts = last, state.absent
        for batch in state.newest:
            self._newest.add(unpack_samples(batch))
        self._returning, self._barred = set(state.returning), set(state.barred)
        self.trials.restore(state.trials, model_of, known, task, rate, fields)
        self.watch.go_on(state.watch, self._first.model, model_of, rate, fields)
        self.steps.restore(state.steps)
        if self.beside and state.beside:
            self.beside.restore(state.beside)
        self.measured.restore(state)
        self._offsets, self._task = state.offsets, scaled(task, state.scale)

    def expect(self, void: Iterable[Sample]) -> None:
        """Do not count these samples again: they were counted, then taken back, and will be learned again."""
        self._returning.update((sample.id, sample.revision) for sample in void)

    def take(self, commit: Commit) -> list[Verdict]:
        """Take the next commit; return the verdicts on candidates under test that follow."""
        entries = self.entries = left(commit.entries(), commit.held)
        samples, shadow = self._fresh(entries, commit.shadow)
        self._last = commit
        if commit.scale is not None and isinstance(self._task, Scaled):
            self._task = self.measured.task = cast(Task, self._task.at(Scale(*commit.scale)))
        marks = self.trials.marks(entries, also=bool(self.watch.models or self.beside))
        if samples or marks:
            models = {self._first.key: self._first.model} | self.watch.models | self.trials.models
            rows = self._encoder.rows([*marks, *samples])
            outputs = answer_entries(models, rows, [*marks, *samples], self._no_answer)
            weights = [weight.mean for weight in self._absent.follow(samples)]
            values = self.measured.values(rows.rows) if self.trials.all or self.watch.canary else ()
            self.trials.take([*marks, *samples], outputs, weights, values)
            self.watch.take([*marks, *samples], outputs, weights, self._artifact_of, values)
            self.steps.take(samples)
            if self.beside:
                self.beside.take([*marks, *samples])
            if samples:
                start = len(marks)
                told = torch.tensor(shadow, dtype=kind(exact=self._exact))
                self.measured.take(rows.rows[start:], samples, weights, outputs[self._first.key][start:], told)
                done = self.trials.learned(commit.settled_ms - self._final_ms - LAG_MS)
                done = max(min(done, commit.learned - FEWEST), commit.learned - KEPT)
                self.measured.forget(done)
                self.watch.forget(done)
                self._newest.add(samples)
        self.measured.settle(commit.watermark_ms - self._final_ms)
        self.measured.close(min(commit.watermark_ms, commit.settled_ms) - self._final_ms)
        self.sightings = self.watch.look(commit)
        if self.beside:
            self.beside.look(commit)
        before = self.trials.champion
        verdicts = self.trials.look(commit)
        if self.trials.champion.key != before.key:
            self._offsets.append(
                [one.offset for one in verdicts if one.decision is Decision.PROVEN and not one.waits][-1]
            )
            canary = self._policy.next_share() < ALL
            self._offsets = self._offsets[0 if canary else -1 :]
            self._begin_watch(canary=canary)
        return verdicts

    def _examine(self, trial: Trial, ours: Contestant, theirs: Contestant) -> tuple[Guard, ...]:
        """Return what the guard rails find of a candidate that is proven."""
        return self._examined(Judged(trial.entry.number, ours, theirs, trial.against[-1], trial.outcomes))

    def _examined(self, judged: Judged) -> tuple[Guard, ...]:
        policy = self._policy
        return judge(judged, list(self._newest), self._task, self._encoder, policy.rails, policy.guards)

    def number(self, version: int, offset: tuple[float, ...] = ()) -> None:
        """Take note of the number that the champion has got: others may have come between, and of its share.

        Where its syncs have served, it comes back with this `offset`.
        """
        self.trials.champion = self.trials.champion._replace(version=version)
        if self._share_of(version) == ALL and self.watch.synced:
            self._offsets = [offset]
            self._begin_watch()
            return
        self.watch.version = version
        if self._share_of(version) == ALL:
            self._offsets, self.trials.base = self._offsets[-1:], None
            self.watch.alone()
        elif not self.watch.canary:
            self._begin_watch(canary=True)

    def sync(self, version: int, reign: str, offset: tuple[float, ...]) -> None:
        """Take note that a sync serves as a version; the first one of a `reign` is watched beside what was tested.

        Trials go on against that alone: what serves is another one every few seconds.
        """
        self._offsets, self.watch.version = [offset], version
        if self.watch.champion != reign:
            self._begin_watch(synced=reign)

    @property
    def gained(self) -> Gained | None:
        """What a canary has gained so far beside its base; None if none serves."""
        if not (canary := self.watch.canary):
            return None
        _, base, sums = canary
        return Gained(base.version, sums.samples, -sums.mean)

    def step(self, candidate: int) -> tuple[Gained, tuple[Guard, ...]] | None:
        """Return what is found of the canary that serves, if its step is over: its gain, and its guard rails.

        It was that candidate.
        """
        canary, gained = self.watch.canary, self.gained
        if not (canary and gained and self._last and self.steps.over(self.watch.version)):
            return None
        ours, base, sums = canary
        low, high = sums.interval or (0.0, 0.0)
        against = Against(
            champion=base.version, samples=gained.samples, gain=gained.gain,
            interval=(-high, -low) if sums.interval else None, margin=0.0, log_wealth=0.0, log_against=0.0,
        )  # fmt: skip
        return gained, self._examined(Judged(candidate, ours, base.contestant, against, self.watch.outcomes))

    def bar(self, artifacts: Iterable[str]) -> None:
        """Have none of these come back, or be watched beside what serves."""
        self._barred.update(artifacts)

    def crown(self, reign: Reign, offset: tuple[float, ...], *, bar: bool = False) -> list[Verdict]:
        """Take note of a version that serves by other than a proof, after the commit that was taken last.

        `offset` is what is added to its outputs, beside the live intercept.

        With `bar`, the one before it does not come back. Return the verdicts on candidates that are this version.
        """
        if self._last is None:
            return []
        self._offsets = [offset]
        before, contestant = self.trials.champion, self._contestant(reign.model, list(self._newest))[0]
        if bar:
            self._barred.add(before.key)
        verdicts = self.trials.crown(reign, contestant, self._last, before.key if bar else None)
        self._begin_watch()
        if broken := self._broken(reign.model):
            self.sightings += [seen] if (seen := self.watch.broken(broken, self._last)) else []
        return verdicts

    def _broken(self, model: Run) -> Guard | None:
        """Return the guard rail that a version breaks on the newest samples, which need no outcomes of its own."""
        samples = list(self._newest)
        before = next(iter(self.watch.models.values()), None)
        if before is None or not samples:
            return None
        models, empty = {"ours": model, "theirs": before}, torch.empty(0, self._task.outputs)
        ours, theirs = answer_entries(models, self._encoder.rows(samples), samples, empty).values()
        if not (found := finite(ours)).passed:
            return found
        target = labels(samples, exact=self._exact)
        spread = constant(self._task, ours, theirs, target, self._policy.rails.constant)
        return None if spread.passed else spread

    def _all_before(self, version: int) -> list[int]:
        return [one for one in range(version - 1, -1, -1) if self._share_of(one) == ALL]

    def _begin_watch(self, *, canary: bool = False, synced: str = "") -> None:
        """Watch the champion beside those before it: the last one, the first, and those of 2, 4 and 8 reigns ago.

        A canary reigns once it answers all requests. Syncs, of the reign `synced`, are watched beside what was tested,
        and those before that.
        """
        champion, samples = self.trials.champion, list(self._newest)
        if synced:
            champion = champion._replace(version=self.watch.version, key=synced)
        found = dict[str, Reference]()
        reigned = self._before(champion.version)
        for ago in [*(ago for ago in AGO if ago <= len(reigned)), len(reigned)] if reigned else []:
            version = reigned[ago - 1]
            key, base = self._artifact_of(version), canary and ago == 1
            if not key or key in found or (key in self._barred and not base) or key == champion.key:
                continue
            model = self._first.model if key == self._first.key else self._model_of and self._model_of(version)
            if model:
                contestant, _ = self._contestant(model, samples)
                found[key] = Reference(version, key, contestant, old=bool(found))
        loss = self.measured.totals()["deep"].loss
        own = (self._contestant(champion.model, samples)[0], self.measured.fields) if canary else None
        self.watch.begin(champion.key, champion.version, list(found.values()), loss, self.reach_ms, own)
        self.watch.synced = bool(synced)

    @property
    def reach_ms(self) -> int:
        """The newest prediction of which the log has told anything: what is made of it is tested on later ones."""
        return max(self.trials.marked_ms, self._last.latest_ms if self._last else -1)

    @property
    def settled_ms(self) -> int:
        """Up to which event time the log is whole."""
        return self._last.settled_ms if self._last else 0

    @property
    def doubt(self) -> str | None:
        """Why few candidates or none can be proven, as the feed is."""
        return doubt(self._policy, self._timing, list(self._newest)) if len(self._newest) >= FEW else None

    def start(self, entry: Entry, model: Run, known: Verdict | None = None) -> list[Verdict]:
        """Put a candidate on trial after the commit that was taken last, which it was made of.

        `known` is its verdict, where an evaluator before has come to one. Return the verdict on it if it is refused, or
        on another candidate that makes room.

        Raises:
            ValueError: no sample was taken before.
        """
        if self._last is None or not len(self._newest):
            raise ValueError("a candidate needs samples before it")
        champion, samples = self.trials.champion, list(self._newest)
        ours, outputs = self._contestant(model, samples)
        if not (found := finite(outputs)).passed:
            return [refusal(entry, Decision.VETOED, None, self._policy, self._last, (found,))]
        if refused := self.trials.refused(entry, self._last.settled_ms):
            return [refusal(entry, *refused, self._policy, self._last)]
        margin = self._policy.margin * self.measured.totals()["deep"].loss
        trial = Trial(entry, self._task, self._policy, margin, self._last.settled_ms, self.measured.fields)
        serves = [champion, *([self.trials.base] if self.trials.base else [])]
        recent = bare(samples[-RECENT:], exact=self._exact)
        answered = outputs[-RECENT:].to(recent) + torch.tensor(ours.intercept.value).to(recent)
        contestants = {entry.key: ours} | {one.key: self._contestant(one.model, samples)[0] for one in serves}
        return self.trials.begin(trial, contestants, (answered.numpy(), recent.numpy()), self._last, known)

    def pass_over(self, entry: Entry, known: Verdict) -> None:
        """Take note of a candidate whose verdict is known, and which cannot be tested again: it had a year's share."""
        if self._last is not None and (known.against or known.decision is not Decision.VETOED):
            self.trials.refused(entry, self._last.settled_ms)

    def _contestant(self, model: Run, samples: Sequence[Sample]) -> tuple[Contestant, Tensor]:
        """Return a model with an intercept where the newest samples bring it, and its raw outputs to them.

        It begins with what the champion has beside its raw output: the live intercept alone follows whatever has
        served, and one whose outputs were far off has left it far off, for good.
        """
        live = samples[0].prediction.intercept if samples else self._last.intercept if self._last else None
        begins = live and tuple(a + b for a, b in zip(live, self._offsets[0] or repeat(0.0), strict=False))
        intercept = Intercept(self._task, self._rate, begins)
        outputs = self._no_answer
        if samples:
            (outputs,) = answer_entries({"": model}, self._encoder.rows(samples), samples, outputs).values()
        told = torch.nan_to_num(outputs, 0.0, 0.0, 0.0).tolist()
        intercept.follow(told, [sample.label for sample in samples], repeat(1.0, len(samples)))
        return Contestant(model, intercept, self._last.learned if self._last else 0), outputs

    def _fresh(
        self, entries: Sequence[Sample], shadow: Sequence[list[float]]
    ) -> tuple[list[Sample], list[list[float]]]:
        """Return the samples, with the shadow's answers to them, but for those that come again."""
        samples = completed([entry for entry in entries if entry.kind != WAITING], self._task)
        again = {(s.id, s.revision) for s in samples} & self._returning if self._returning else set()
        self._returning -= again
        fresh = [(s, row) for s, row in zip(samples, shadow, strict=True) if (s.id, s.revision) not in again]
        return [s for s, _ in fresh], [row for _, row in fresh]
