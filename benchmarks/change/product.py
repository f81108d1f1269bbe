"""The product's own learner, drift, distiller and gate, played over a feed in event time.

Candidates are made as the policy says, by the calendar and after a drift, and one serves once it is proven. Owns this
play. Does not know worlds, or how anything learns.
"""

import math
from collections.abc import Sequence

import msgspec
import numpy as np
import torch
from msgspec import Raw
from torch import Tensor, nn

from benchmarks.change.worlds import DAY, DAY_MS, DELAY_MS, FEATURES, HISTORY, START_MS, Array, Feed, asked_ms, chances
from deploy.learning.bootstrap import study
from deploy.learning.candidates import compress, distil, history, make_learner
from deploy.learning.rules import DRIFT, SCHEDULE
from deploy.pipeline import Labelled, Pipeline
from learners.commits.commit import Due
from learners.evaluation.gate import Promotion
from learners.evaluation.trials.pair import Compared, Pair
from learners.evaluation.verdict import Kind
from learners.online.batches import Newest
from streams.events import Prediction, Sample

SLICE = 10  # samples that are answered together: about an hour


class Row(msgspec.Struct, gc=False):
    """The features: all are normal numbers."""

    a: float
    b: float
    c: float
    d: float


def encode(rows: Sequence[Row]) -> tuple[Tensor, ...]:
    """Return rows (N, features)."""
    return (torch.tensor([msgspec.structs.astuple(row) for row in rows]),)


def net() -> nn.Module:
    """Return the network of all."""
    return nn.Sequential(nn.Linear(FEATURES, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))


class Product:
    """Learner, candidates and champion of a feed; `promoted` and `drifts` are the rows at which these were."""

    def __init__(self, given: Feed, policy: Promotion, seed: int) -> None:
        self.policy = policy
        self.rows = [Row(*row) for row in given.x.tolist()]
        self.given = given
        past = [Labelled(*one) for one in zip(self.rows[:HISTORY], given.y[:HISTORY].tolist(), strict=True)]
        self.pipeline = Pipeline(
            name="change", model=net, features=Row, encode=encode, promotion=policy, history=lambda: past, seed=seed
        )
        self.learner = make_learner(self.pipeline)
        data = history(self.pipeline)
        assert data is not None
        self.learner.study(data)
        self.champion = compress(self.pipeline, self.learner, self.learner.shadow.model, data)[0].model
        self.learner.shadow.settle()
        study(self.pipeline, self.learner)
        self.replay: Newest[Sample] = Newest(self.pipeline.online.replay)
        self.candidates: list[tuple[nn.Module, Pair]] = []
        self.found: dict[str, list[float]] = {}
        self.offset = 0.0  # of the version, less the live intercept
        self.promoted: list[int] = []
        self.drifts: list[tuple[int, int]] = []  # and since which row

    def play(self) -> dict[str, Array]:
        """Return the chances (N,) that each part gave of the rows after the history."""
        waiting: list[tuple[int, Sample]] = []
        for start in range(HISTORY, len(self.rows), SLICE):
            now_ms = asked_ms(start)
            told = [sample for due_ms, sample in waiting if due_ms <= now_ms]
            waiting = [one for one in waiting if one[0] > now_ms]
            self._learn(told)
            if due := self._due(start, now_ms):
                self._distil(due)
            self.learner.count(now_ms - 1, start - HISTORY, 7 * DAY_MS)
            waiting += [(sample.label_t, sample) for sample in self._answer(start, start + SLICE)]
        return {name: np.array(z) for name, z in self.found.items()}

    def _due(self, row: int, now_ms: int) -> Due | None:
        """Return why a candidate is due before a row is asked, as the learner role does."""
        gap = self.learner.gap
        if gap and gap.due_ms is not None and gap.room(self.policy.drift_a_year):
            self.drifts.append((row, HISTORY + (gap.due_ms - START_MS) * DAY // DAY_MS))
            due = Due(DRIFT, now_ms, gap.due_ms)
            self.learner.drifted(gap.due_ms)
            return due
        days = (row - HISTORY) / DAY
        return Due(SCHEDULE, now_ms) if days and days % self.policy.every_days == 0 else None

    def _answer(self, start: int, stop: int) -> list[Sample]:
        rows, learner = tuple(self.rows[start:stop]), self.learner
        inputs, b = encode(rows), learner.intercept.value
        with torch.no_grad():
            z = self.champion(*inputs)[:, 0].double().numpy() + self.offset
        assert learner.live is not None
        said, served = learner.live.answer(rows, z, b[0])
        names = list(learner.live.names)
        logits = {"served": served, "deep": z + b[0], "shadow": learner.shadow.answer(inputs)[:, 0].double().numpy()}
        logits |= {name: said[:, names.index(name)] for name in ("nag", "w4")}
        for name, of in logits.items():
            self.found.setdefault(name, []).extend(chances(of).tolist())
        made = []
        for n, row in enumerate(rows):
            others = tuple(None if math.isnan(one) else one for one in said[n, 2:].tolist())
            t_ms, id_ = asked_ms(start + n), str(start + n)
            answer = (float(served[n]),)
            asked = Prediction(id_, t_ms, 0, (float(z[n]),), b, 0, Raw(msgspec.json.encode(row)), others, answer)
            made.append(Sample(id_, "joined", 0, t_ms, float(self.given.y[start + n]), t_ms + DELAY_MS, asked))
        return made

    def _learn(self, samples: list[Sample]) -> None:
        if not samples:
            return
        self._judge(samples)
        self.learner.learn(samples)
        self.replay.add(samples)

    def _judge(self, samples: Sequence[Sample]) -> None:
        """Compare candidates with the version, as an evaluator does; a proven one serves at once, the others go."""
        for model, pair in list(self.candidates):
            pair.look(self._compared(model, samples), self.policy.log_needed(Kind.REFRESH))
            if pair.log_against >= -math.log(self.policy.futility):
                self.candidates.remove((model, pair))
            if pair.proven_day is not None:
                self.champion, self.candidates = model, []
                self.offset = -self.learner.intercept.value[0]
                self.promoted.append(int(samples[-1].id))
                return

    def _compared(self, model: nn.Module, samples: Sequence[Sample]) -> Compared:
        task = self.learner.task
        inputs = self.pipeline.encoder().inputs(samples)
        y = torch.tensor([float(sample.label) for sample in samples])  # type: ignore[arg-type]
        theirs = torch.tensor([sample.prediction.bare for sample in samples])
        with torch.no_grad():
            ours = model(*inputs)
        parts = (
            task.losses(theirs, y) - task.losses(ours, y),
            task.worst_gap(ours, theirs),
            task.worst_gap(theirs, ours),
        )
        t_ms, known = np.array([sample.t for sample in samples]), np.ones(len(samples), bool)
        ends = np.flatnonzero((np.array([int(sample.id) for sample in samples]) + 1 - HISTORY) % DAY == 0)
        gains, bounds, reverse = (part.double().numpy() for part in parts)
        return Compared(t_ms, gains, bounds, reverse, known, ~known, len(samples), ends)

    def _distil(self, due: Due) -> None:
        made, _, _ = distil(self.pipeline, self.learner, list(self.replay), due)
        if not made.refusal:
            from_ms = max(sample.t for sample in self.replay) + 1
            pair = Pair("version", 0, from_ms, self.policy.margin * 0.4, 1.0, 1.0)
            self.candidates = [*self.candidates, (made.model, pair)][-self.policy.trials :]
