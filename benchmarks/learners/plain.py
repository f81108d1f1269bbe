"""The pipeline that says nothing but its features, as the product learns and serves it, without history or settings.

The learner is the product's own, live experts and all. What is served deep is the average of its shadow, copied a fixed
number of times instead of distilled and judged. Owns this contender of benchmarks/learners/. Does not know others.
"""

import copy
from typing import Any

import msgspec
import numpy as np
import torch
from msgspec import Raw

from benchmarks.learners.feeds import Stream
from benchmarks.peers.replay import NEVER_MS
from deploy.learning.candidates import make_learner
from deploy.pipeline import Pipeline
from streams.events import WAITING, Prediction, Sample

RENEWED = 30


class Plain:
    """Answers by the copy and the live experts; `deep` has the copy's logits."""

    def __init__(self, stream: Stream, seed: int = 0) -> None:
        torch.set_num_threads(1)
        self.stream = stream
        self.pipeline = Pipeline(name="plain", features=type(stream.rows[0]), seed=seed)
        self.learner = make_learner(self.pipeline)
        self.version = copy.deepcopy(self.learner.shadow.mean).eval()
        self.every = max(sum(ms < NEVER_MS for ms in stream.known_ms) // RENEWED, 1)
        self.renewed, self.deep = 0, np.full(len(stream.rows), np.nan)
        self.asked: dict[int, Prediction] = {}

    def learn(self, events: list[tuple[int, int, int]]) -> None:
        """Follow the log."""
        self.learner.learn([self._entry(*event) for event in events])

    def _entry(self, at_ms: int, row: int, age: int) -> Sample:
        if age >= 0:
            return Sample(str(row), WAITING, age, self.stream.t_ms[row], 0.0, at_ms, self.asked[row])
        label = self.stream.labels[row]
        return Sample(str(row), "joined", 0, self.stream.t_ms[row], label, at_ms, self.asked.pop(row))

    def answer(self, start: int, stop: int) -> Any:
        """Return chances."""
        if self.learner.learned - self.renewed >= self.every:
            self.version, self.renewed = copy.deepcopy(self.learner.shadow.mean).eval(), self.learner.learned
        rows, live = self.stream.rows[start:stop], self.learner.live
        self.learner.count(self.stream.t_ms[start] - 1, start, self.stream.window_ms)
        with torch.inference_mode():
            self.deep[start:stop] = self.version(*self.pipeline.encode(rows))[:, 0].double().numpy()
        said, logits = live.answer(tuple(rows), self.deep[start:stop], self.learner.intercept.value[0])  # type: ignore[union-attr]
        for at, (row, one, logit) in enumerate(zip(rows, said.tolist(), logits.tolist(), strict=True), start):
            experts = tuple(None if z != z else z for z in one[2:])
            self.asked[at] = Prediction(
                str(at), self.stream.t_ms[at], 0, (one[0],), self.learner.intercept.value, self.learner.learned,
                Raw(msgspec.json.encode(row)), experts, (logit,),
            )  # fmt: skip
        return 1 / (1 + np.exp(-np.clip(logits, -30, 30)))
