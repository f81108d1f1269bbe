"""What a policy's own versions would have answered, where another version has answered the log's predictions.

Each version answers under a live intercept of its own, which begins where the record's is when the version takes over,
plus its offset, and follows all samples that were learned. Where the version that answered is the policy's, too, its
answer is the log's, bit for bit. Owns which version a prediction would have met. Does not know how one is chosen.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from msgspec.structs import replace

from compressors.answers import Run, answer_all
from compressors.data import Scaled
from compressors.scale import Scale
from deploy.pipeline import Pipeline
from deploy.registry.records import Champion
from learners.commits.commit import Commit
from learners.evaluation.canary import ALL, chosen
from learners.evaluation.trials.asked import NEVER_MS
from learners.evaluation.trials.contestant import Contestant
from learners.evaluation.trials.timing import Timing
from learners.evaluation.trials.trials import LAG_MS
from learners.evaluation.trials.wealth import Floats
from learners.labels.holds import left
from learners.online.absent import Absent
from learners.online.batches import completed
from learners.online.intercept import Intercept
from learners.tasks.task import Task
from streams.events import WAITING, Prediction, Sample


class Answered(Commit, frozen=True, kw_only=True):
    """A commit whose predictions are those of a policy's own versions, `told`."""

    told: list[Sample]

    def entries(self) -> list[Sample]:
        """Return samples and marks."""
        return self.told


@dataclass
class Reigned:
    """A version that a policy has made, and `twin`, the same one in the record, if there is one.

    Without one it would have answered what was asked once `learned` samples were learned, and of that a `share`. Up to
    the event time `until_ms` outcomes of what it was asked may come.
    """

    artifact: str
    share: float
    twin: int | None
    learned: int
    contestant: Contestant
    until_ms: int = NEVER_MS


class Answers:
    """Takes the versions and commits in their order; `recorded` are the record's versions, models come from `load`."""

    def __init__(
        self, pipeline: Pipeline, timing: Timing, recorded: Sequence[Champion], load: Callable[[Champion], Run]
    ) -> None:
        self._rate, self._encoder, self._task = pipeline.online.intercept_rate, pipeline.encoder(), pipeline.task
        self._recorded, self._load, self._absent = recorded, load, Absent()
        self._late_ms = LAG_MS + max(timing.age_ms, timing.final.negative_ms, timing.final.without_ms or 0)
        self._reigned = list[Reigned]()

    def begin(self, champion: Champion, commit: Commit) -> None:
        """Have a version take over after a commit."""
        value = [a + b for a, b in zip(commit.intercept, champion.offset, strict=True)]
        contestant = Contestant(self._load(champion), Intercept(self._task, self._rate, value), commit.learned)
        for one in self._reigned:
            if one.until_ms == NEVER_MS and (champion.share == ALL or one.share < ALL):
                one.until_ms = commit.settled_ms + self._late_ms
        reigned = Reigned(champion.artifact, champion.share, self._twin(champion), commit.learned, contestant)
        self._reigned.append(reigned)

    def take(self, commit: Commit, entries: Sequence[Sample]) -> Answered:
        """Return the next commit, of these samples and marks, as the policy's versions would have answered."""
        if commit.scale is not None and isinstance(self._task, Scaled):
            self._task = cast(Task, self._task.at(Scale(*commit.scale)))
        versions = [self._version(entry.prediction) for entry in entries]
        others = [at for at, entry in enumerate(entries) if not self._same(versions[at], entry.prediction)]
        needed = {versions[at] for at in others}
        needed |= {n for n, one in enumerate(self._reigned) if one.until_ms >= commit.settled_ms}
        raw = self._outputs(entries, sorted(needed))
        self._follow(commit, entries, raw)
        told = [
            entry if entry.prediction.version == n else replace(entry, prediction=replace(entry.prediction, version=n))
            for n, entry in zip(versions, entries, strict=True)
        ]
        for at in others:
            told[at] = self._answered(told[at], raw[versions[at]][at])
        return Answered(**{name: getattr(commit, name) for name in commit.__struct_fields__}, told=told)

    def _outputs(self, entries: Sequence[Sample], needed: Sequence[int]) -> dict[int, Floats]:
        """Return the raw outputs (N, K) of the versions that are needed."""
        if not entries or not needed:
            return {}
        models = [self._reigned[n].contestant.model for n in needed]
        outputs = answer_all(models, self._encoder.rows(list(entries)))
        return {n: output.double().numpy() for n, output in zip(needed, outputs, strict=True)}

    def _follow(self, commit: Commit, entries: Sequence[Sample], raw: Mapping[int, Floats]) -> None:
        """Move the intercepts by what the commit has learned."""
        at = [n for n in left(range(len(entries)), commit.held) if entries[n].kind != WAITING]
        samples = completed([entries[n] for n in at], self._task)
        weights = [weight.mean for weight in self._absent.follow(samples)]
        for n, outputs in raw.items():
            self._reigned[n].contestant.follow(outputs[at], [sample.label for sample in samples], weights)

    def _answered(self, entry: Sample, output: Floats) -> Sample:
        """Return an entry with the answer of its version, of which `output` (K,) is the raw one."""
        asked = entry.prediction
        contestant = self._reigned[asked.version].contestant
        (live,) = contestant.answers(np.zeros((1, len(output))), [asked.learned])
        said = replace(asked, output=tuple(output.tolist()), intercept=tuple(live.tolist()))
        return replace(entry, prediction=said)

    def _version(self, asked: Prediction) -> int:
        """Return the policy's version that would have answered: of canaries the newest alone, if it is on its side."""
        newest = True
        for n in range(len(self._reigned) - 1, 0, -1):
            one = self._reigned[n]
            if not (asked.version >= one.twin if one.twin is not None else asked.learned >= one.learned):
                continue
            if one.share == ALL or (newest and self._mine(one, asked)):
                return n
            newest = False
        return 0

    def _mine(self, one: Reigned, asked: Prediction) -> bool:
        """Return whether a canary would have answered; the record knows of its own, also where one could not."""
        return one.twin is not None or chosen(asked.id, one.artifact, one.share)

    def _same(self, version: int, asked: Prediction) -> bool:
        """Return whether what answered in the record is the policy's version."""
        return self._reigned[version].artifact == self._recorded[asked.version].artifact

    def _twin(self, champion: Champion) -> int | None:
        found = (
            one.number
            for one in self._recorded
            if (one.artifact, one.commit, one.share) == (champion.artifact, champion.commit, champion.share)
        )
        return next(found, None)
