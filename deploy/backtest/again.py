"""The evaluator and the conductor over a run's record, under one policy: as they were in the run, in one process.

Owns their turns: after each commit first the evaluator takes what there is, then the conductor. Does not know files of
policies, or how the result is shown.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from deploy.backtest.answers import Answers
from deploy.backtest.scratch import Scratch
from deploy.engine import load
from deploy.pipeline import Pipeline
from deploy.promotion.conductor import ConductorRole
from deploy.promotion.evaluator import EvaluatorRole
from deploy.registry.kinds import CHAMPIONS, VERDICTS
from deploy.registry.notes import Metrics
from deploy.registry.records import Champion
from deploy.registry.registry import Registry
from learners.commits.commit import Commit
from learners.evaluation.gate import Promotion
from learners.evaluation.trials.timing import Timing
from learners.evaluation.verdict import Verdict
from streams.events import Sample


class NoBoard:
    """Takes notes of which nobody reads any."""

    def put(self, feed: str, notes: Mapping[str, bytes], /) -> None:
        """Drop them."""

    def doze(self, feed: str, names: Sequence[str], block_ms: float, /) -> None:
        """Wait for nothing."""


class Again:
    """Decides again under `promotion`, commit by commit; `recorded` are the versions of the record `registry`."""

    def __init__(
        self,
        pipeline: Pipeline,
        promotion: Promotion,
        timing: Timing,
        registry: Registry,
        recorded: Sequence[Champion],
        *,
        engines: bool = True,
    ) -> None:
        pipeline = replace(pipeline, promotion=promotion)
        self._registry, self._versions = Scratch(registry), 0
        self._answers = Answers(
            pipeline, timing, recorded,
            lambda one: load(registry, one.artifact, one.engine, pipeline.model, engines=engines),
        )  # fmt: skip
        board = NoBoard()
        self._evaluator = EvaluatorRole(pipeline, timing, board, self._registry, engines=engines, summaries=False)
        self._conductor = ConductorRole(pipeline.name, board, self._registry, promotion)

    def take(self, commit: Commit, entries: Sequence[Sample]) -> None:
        """Take the next commit, whose samples and marks are `entries`."""
        if commit.number and not self._versions:  # the log begins here
            self._begin(commit)
        self._registry.show(self._answers.take(commit, entries))
        while self._evaluator.step(0):
            pass
        while self._conductor.step(0):
            pass
        self._begin(commit)

    def _begin(self, commit: Commit) -> None:
        for champion in self.versions[self._versions :]:
            self._answers.begin(champion, commit)
            self._versions += 1

    @property
    def versions(self) -> list[Champion]:
        """The versions so far."""
        return list(self._registry.records(CHAMPIONS))

    @property
    def verdicts(self) -> dict[int, Verdict]:
        """The verdicts so far, by candidate."""
        return self._registry.made(VERDICTS)

    @property
    def metrics(self) -> Metrics:
        """The metrics of what the policy's versions would have answered."""
        return self._evaluator.metrics
