"""Our contenders of benchmarks/learners/: a constant, a small network, each live expert alone, and all by the rule.

`python -m benchmarks.learners.live CONTENDER STREAM` prints one line of JSON. The network writes its logits to
--logits, and the pool reads them: it is given a deep part, here as in the product. Owns these learners. Does not know
peers.
"""

import argparse
import json
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.learners.feeds import STREAMS, Stream, after
from benchmarks.learners.network import Deep
from benchmarks.learners.plain import Plain
from benchmarks.peers.replay import Replayed, replay, scores
from learners.live.features.reader import Reader
from learners.live.held import Asked, Census, Due, Held, Told, Waits, shared
from learners.live.make import chain, linear, pool
from learners.live.news import AGES_MS
from learners.live.pool import chain_ages
from learners.live.settings import Live, Wide

RATE = 0.01  # of the intercept
Events = Sequence[tuple[int, int, int]]
Array = NDArray[np.float64]


def sigmoid(z: Array) -> Array:
    """Return chances of logits, NaN taken for 0."""
    return np.asarray(1 / (1 + np.exp(-np.clip(np.nan_to_num(z), -30, 30))))


class Constant:
    """The share of yes among the last thousand outcomes."""

    def __init__(self, stream: Stream) -> None:
        self.stream, self.last = stream, deque[float](maxlen=1_000)

    def answer(self, start: int, stop: int) -> list[float]:
        """Return chances."""
        return [(sum(self.last) + 1) / (len(self.last) + 2)] * (stop - start)

    def learn(self, events: Events) -> None:
        """Keep the outcomes."""
        self.last.extend(self.stream.labels[row] for _, row, age in events if age < 0)


class Table:
    """One table alone, which learns at once."""

    def __init__(self, stream: Stream, name: str) -> None:
        wide = Wide()
        self.stream, self.expert = stream, linear(wide, Reader(wide.fields(type(stream.rows[0]))), (name,))

    def answer(self, start: int, stop: int) -> Array:
        """Return chances."""
        return sigmoid(self.expert.answer(tuple(self.stream.rows[start:stop]))[:, 0])

    def learn(self, events: Events) -> None:
        """Learn outcomes in their order."""
        rows = [row for _, row, age in events if age < 0]
        labels = np.array([self.stream.labels[row] for row in rows])
        self.expert.learn(tuple(self.stream.rows[row] for row in rows), labels, np.ones(len(rows)))


class Mixed:
    """All of them, by the rule; `logits` are the deep part's."""

    def __init__(self, stream: Stream, logits: Array) -> None:
        self.stream, self.deep = stream, logits
        self.live = pool(Live(), type(stream.rows[0]))
        self.intercept = 0.0
        self.said = np.full((len(stream.rows), len(self.live.names)), np.nan)
        self.asked: dict[int, Asked] = {}

    def answer(self, start: int, stop: int) -> Array:
        """Return chances, and record what each expert said."""
        rows = tuple(self.stream.rows[start:stop])
        self.live.learn([Census(self.stream.t_ms[start] - 1, start, self.stream.window_ms)])
        said, logits = self.live.answer(rows, self.deep[start:stop], self.intercept)
        self.said[start:stop] = said
        for row, (one, z) in enumerate(zip(said, logits.tolist(), strict=True), start):
            self.asked[row] = Asked(str(row), self.stream.t_ms[row], self.stream.rows[row], tuple(one.tolist()), z)
        return sigmoid(logits)

    def learn(self, events: Events) -> None:
        """Follow the log."""
        self.live.learn([self._event(*event) for event in events])

    def _event(self, at_ms: int, row: int, age: int) -> Told | Waits:
        if age >= 0:
            return Waits(self.asked[row], at_ms, age)
        label, deep = self.stream.labels[row], self.deep[row]
        if np.isfinite(deep):
            self.intercept += RATE * (label - 1 / (1 + np.exp(-np.clip(deep + self.intercept, -30, 30))))
        return Told(self.asked.pop(row), at_ms, label)


class Waiting:
    """The hazard chain alone, on any stream."""

    def __init__(self, stream: Stream) -> None:
        kind, wide = type(stream.rows[0]), Wide()
        self.stream, self.held, self.ages_ms = stream, Held(kind), chain_ages(AGES_MS)
        self.chain = chain(wide, Reader(wide.fields(kind)), len(self.ages_ms))

    def answer(self, start: int, stop: int) -> Array:
        """Return chances."""
        return sigmoid(self.chain.answer(tuple(self.stream.rows[start:stop]))[:, 0])

    def learn(self, events: Events) -> None:
        """Learn what waits, and outcomes at the end of their age."""
        marks: list[tuple[Told, int]] = []
        for at_ms, row, age in events:
            passed = []
            while entry := self.held.due(at_ms):
                passed.append(entry)
            marks += shared(passed)
            t_ms, waits = self.stream.t_ms[row], age >= 0
            mark = age if waits else bisect_left(self.ages_ms, at_ms - t_ms)
            label = np.nan if waits else self.stream.labels[row]
            if mark < len(self.ages_ms):
                told = Told(Asked(str(row), t_ms, self.stream.rows[row], ()), at_ms, label)
                self.held.hold(t_ms + self.ages_ms[mark], Due.CHAIN, told, mark)
        rows = tuple(told.asked.row for told, _ in marks)
        ages = np.array([mark for _, mark in marks], dtype=np.int64)
        labels, weights = (np.array([getattr(told, name) for told, _ in marks]) for name in ("label", "weight"))
        t_ms = np.array([told.asked.t_ms for told, _ in marks], dtype=np.int64)
        self.chain.waited(rows, ages, labels, weights, t_ms)


# ── One of them over one stream ─────────────────────────────────────────────────────────────────────────────────────


def main() -> None:
    """Run one contender."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.learners.live")
    parser.add_argument("contender", choices=["constant", "deep", "nag", "w4", "chain", "live", "plain"])
    parser.add_argument("stream", choices=STREAMS)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--logits", type=Path)
    parser.add_argument("--after", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    stream = after(STREAMS[asked.stream](asked.data), asked.after)
    _compile(_made(asked, stream))
    learner = _made(asked, stream)
    told = dict.fromkeys(
        ("chain", "live", "plain"), chain_ages(AGES_MS)
    )  # the ages at which a learner hears of what still waits
    replayed = replay(stream, learner, told.get(asked.contender, ()))
    result: dict[str, Any] = scores(stream, replayed)
    if asked.contender == "deep":
        np.save(asked.logits, learner.logits)
    if asked.contender == "live":
        k80_ms = learner.live.news.k80_ms
        result |= {
            "k80_days": k80_ms and k80_ms / 86_400_000,
            "late": learner.live.late,
            "parts": _parts(stream, learner),
        }
    print(json.dumps(result))


def _compile(spare: Any) -> None:
    """Let what is compiled be so before a clock runs, on a learner that is thrown away."""
    t_ms = spare.stream.t_ms
    spare.answer(0, 1)
    spare.learn([(t_ms[0], 0, -1)])
    spare.answer(1, 2)


def _made(asked: argparse.Namespace, stream: Stream) -> Any:
    made: dict[str, Callable[[], Any]] = {
        "constant": lambda: Constant(stream),
        "deep": lambda: Deep(stream, asked.seed),
        "nag": lambda: Table(stream, "nag"),
        "w4": lambda: Table(stream, "w4"),
        "chain": lambda: Waiting(stream),
        "live": lambda: Mixed(stream, np.load(asked.logits)),
        "plain": lambda: Plain(stream, asked.seed),
    }
    return made[asked.contender]()


def _parts(stream: Stream, pool: Mixed) -> dict[str, dict[str, float]]:
    """Return how good each expert was in the pool, by what was recorded."""
    found = {}
    for name, column in zip(pool.live.names, pool.said.T, strict=True):
        told = scores(stream, Replayed(sigmoid(column).tolist(), 0.0, 0))
        found[name] = {"log_loss": told["log_loss"], "said": float(np.mean(~np.isnan(column[stream.live :])))}
    return found


if __name__ == "__main__":
    main()
