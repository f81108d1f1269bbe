"""What forged outcomes cost: a tenth of the labels of flights turned, and what trust saves of it.

`python -m benchmarks.poison [--rows N] [--seed N] [--only ATTACK ...]`. The flights example's whole learner answers
each request by all that it knows then, and learns each outcome when it lands; answers are scored by the true labels.
Attacks begin when a quarter of the live rows are over:

    random    every label is turned with a chance of a tenth
    burst     all labels of a tenth of the live rows, one after the other
    source    all labels of one carrier, 10 % of the flights; trust is told that the carrier is the source
    slice     all labels of a tenth of the flights, by distance; trust is told nothing
    honest    the carrier's flights are late twice as often from then on, in truth
    turned    what turns labels in `slice` happens in truth: nobody forges; trust is told nothing

What trust doubts is taken back here as the learner role does it, in memory: it goes back to an earlier state, and
learns the log again. Owns the attacks and the table. Does not know how trust works.
"""

import argparse
import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import numpy as np
import torch
from msgspec import Raw

from benchmarks.learners.feeds import Stream, flights
from benchmarks.peers.replay import replay, scores
from deploy.learning.candidates import history, make_learner
from deploy.pipeline import Pipeline
from examples.flights.pipeline import pipeline
from learners.commits.state import pack_state, unpack_state
from learners.labels.holds import Hold
from learners.labels.running import RunningTrust
from learners.labels.settings import Trust
from streams.events import Prediction, Sample

CARRIER, MILES = "AA", (1_010, 1_080)  # each a tenth of the flights
SLICE_MS = 7_200_000  # outcomes are told in slices, as a replay does
KEEP = 2_000  # samples between two states that can be gone back to
BY_CARRIER = Trust(source="carrier")


@dataclass(frozen=True)
class Case:
    """What learners are told (`stream.labels`), what is true, and what trust is told."""

    stream: Stream
    truth: Stream
    trust: Trust


@dataclass
class Part:
    """What was learned at once: the `first` of the log's samples is its number; what followed; the state after it."""

    samples: list[Sample]
    held: list[Hold]
    first: int
    census: tuple[int, int, int] = (0, 0, 0)
    state: bytes | None = None


class Ours:
    """The flights' whole learner behind the replay's two calls."""

    def __init__(self, stream: Stream, spec: Pipeline, first: bytes) -> None:
        self.stream, self.learner = stream, make_learner(spec)
        self.learner.load(unpack_state(first))
        self.asked: dict[int, Prediction] = {}
        self.spans, self._since = list[tuple[str, int, int]](), dict[str, int]()
        self.log = [Part([], [], 0, state=first)]

    def answer(self, start: int, stop: int) -> list[float]:
        """Return chances, and record what was said."""
        self.log[-1].census = (self.stream.t_ms[start] - 1, start, self.stream.window_ms)
        self.learner.count(*self.log[-1].census)
        self._keep()
        rows, learner, intercept = tuple(self.stream.rows[start:stop]), self.learner, self.learner.intercept.value
        with torch.no_grad():
            deep = learner.shadow.model(*learner._encoder.encode(rows))[:, 0].double().numpy()
        said, logits = learner.live.answer(rows, deep, intercept[0])
        for at, (z, experts, logit) in enumerate(
            zip(deep.tolist(), said.tolist(), logits.tolist(), strict=True), start
        ):
            others = tuple(None if math.isnan(one) else one for one in experts[2:])
            features = Raw(msgspec.json.encode(self.stream.rows[at]))
            t_ms = self.stream.t_ms[at]
            self.asked[at] = Prediction(str(at), t_ms, 0, (z,), intercept, 0, features, others, (logit,))
        return [1 / (1 + math.exp(-logit)) for logit in logits.tolist()]

    def learn(self, events: Sequence[tuple[int, int, int]]) -> None:
        """Learn what is not held; take back what is in doubt."""
        samples, trust = [self._sample(at_ms, row) for at_ms, row, _ in events], self.learner.trust
        part = Part(samples, self.learner.sift(samples), trust.seen - len(samples) if trust else 0)
        self.learner.learn(samples, part.held)
        self.log = [*self.log, part] if trust else [part]
        if trust and trust.doubts:
            self._take_back(trust)
        self._note(trust.held if trust else {})

    @property
    def held(self) -> int:
        """How many samples are held."""
        return sum(len(part.held) for part in self.log)

    def _keep(self) -> None:
        newest = next(part for part in reversed(self.log) if part.state) if len(self.log) > 1 else self.log[-1]
        if self.log[-1].first - newest.first >= KEEP:
            self.log[-1].state = pack_state(self.learner.state())

    def _take_back(self, trust: RunningTrust) -> None:
        now, least = trust.state(), min(trust.doubts.values())
        for part in self.log:
            held = {hold.at for hold in part.held}
            for at, row in enumerate(self.learner.rows(part.samples)):
                if at not in held and (source := trust.doubted(row, part.first + at)):
                    part.held.append(Hold(at, source, "in doubt"))
        back = max(n for n, part in enumerate(self.log) if part.state and part.first + len(part.samples) <= least)
        self.learner.load(unpack_state(self.log[back].state or b""))
        for part in self.log[back + 1 :]:
            self.learner.learn(part.samples, part.held)
            self.learner.count(*part.census)
            part.state = None
        trust.load(now)
        trust.settle()

    def _sample(self, at_ms: int, row: int) -> Sample:
        asked = self.asked.pop(row)
        return Sample(asked.id, "joined", 0, asked.t, self.stream.labels[row], at_ms, asked)

    def _note(self, held: dict[str, Any]) -> None:
        for name in [name for name in self._since if name not in held]:
            self.spans.append((name, self._since.pop(name), self.learner.learned))
        for name in held:
            self._since.setdefault(name, self.learner.learned)


def cases(stream: Stream, seed: int) -> dict[str, Case]:
    """Return all attacks on a stream."""
    random = np.random.default_rng(seed)
    n, live, y = len(stream.rows), stream.live, np.array(stream.labels)
    begun = np.arange(n) >= live + (n - live) // 4
    carrier = np.array([row.carrier == CARRIER for row in stream.rows]) & begun
    miles = np.array([MILES[0] <= row.distance < MILES[1] for row in stream.rows]) & begun
    order = np.arange(n) - (live + (n - live) // 2)
    burst = (order >= 0) & (order < (n - live) // 10)
    late = np.where(carrier & (random.random(n) < y.mean()), 1.0, y)

    def told(turned: Any, trust: Trust) -> Case:
        return Case(replace(stream, labels=np.where(turned, 1 - y, y).tolist()), stream, trust)

    changed = replace(stream, labels=late.tolist())
    changed_miles = replace(stream, labels=np.where(miles, 1 - y, y).tolist())
    return {
        "none, ranges": told(np.zeros(n, bool), Trust()),
        "none, source": told(np.zeros(n, bool), BY_CARRIER),
        "random": told(begun & (random.random(n) < 0.1), Trust()),
        "burst": told(burst, Trust()),
        "source": told(carrier, BY_CARRIER),
        "slice": told(miles, Trust()),
        "honest": Case(changed, changed, BY_CARRIER),
        "turned": Case(changed_miles, changed_miles, Trust()),
    }


def run(case: Case, spec: Pipeline, first: bytes) -> dict[str, Any]:
    """Return how well one learner answers, by the truth."""
    began, learner = time.process_time(), Ours(case.stream, spec, first)
    found = scores(case.truth, replay(case.stream, learner))
    spans = [*learner.spans, *((name, since, -1) for name, since in learner._since.items())]
    return {"log_loss": found["log_loss"], "auc": found["auc"], "held": learner.held, "spans": spans,
            "seconds": time.process_time() - began}  # fmt: skip


def main() -> None:
    """Run all, and print a table and one line of JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.poison")
    parser.add_argument("--rows", type=int, default=80_000, help="live rows")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", default=[])
    asked = parser.parse_args()
    torch.set_num_threads(1)
    whole = flights(None)
    part = slice(whole.live, whole.live + asked.rows)
    known = [-(-ms // SLICE_MS) * SLICE_MS for ms in whole.known_ms[part]]
    cut = {name: getattr(whole, name)[part] for name in ("rows", "t_ms", "labels")}
    stream, found = replace(whole, known_ms=known, live=0, **cut), dict[str, Any]()
    spec = replace(pipeline, seed=asked.seed)
    learner, data = make_learner(spec), history(spec)
    assert data is not None
    learner.study(data)
    first = pack_state(learner.state())
    for name, case in cases(stream, asked.seed).items():
        if not asked.only or name in asked.only:
            found[name] = {
                "unprotected": run(case, spec, first),
                "protected": run(case, replace(spec, trust=case.trust), first),
            }
            show(name, found[name])
    print(json.dumps(found))


def show(name: str, found: dict[str, Any]) -> None:
    """Print one attack's rows."""
    for who, one in found.items():
        held = f"{one['held']:,} held; {one['spans']}" if one["held"] else ""
        print(f"{name:14}{who:13}{one['log_loss']:.4f} {one['auc']:.4f} {one['seconds']:5.0f} s  {held}", flush=True)


if __name__ == "__main__":
    main()
