"""How well live experts answer streams of classes, one or any, and of numbers, beside River: one table a stream.

    python -m benchmarks.outcomes --data FOLDER

All learn from the same events in the same order, and know only what had landed. FOLDER holds gitbugs-hadoop/ and
hotel-bookings/ (benchmarks/learners/feeds.py). Needs River and scikit-learn in this environment
(`pip install 'shadowstream[experts]' scikit-learn`). Owns the contenders and the table.
"""

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks.learners.feeds import Missing, Stream, kinds
from benchmarks.learners.network import WORD, Deep
from benchmarks.outcomes.outcome_feeds import STREAMS, Feed
from benchmarks.peers.replay import NEVER_MS, replay
from compressors.scale import Scale
from learners.live.held import Asked, Census, Told
from learners.live.make import pool
from learners.live.settings import Live
from learners.tasks.multilabel import MultiLabel
from learners.tasks.regression import Regression

Array = NDArray[np.float64]
Events = Sequence[tuple[int, int, int]]
RATE, SMALL = 0.01, 256  # of the intercept; a count below it is a category too


# ── Contenders: each fills `said` (N, K), outputs of the task, as it is asked ───────────────────────────────────────


class Network(Deep):
    """The network of benchmarks/learners/network.py, for a task; labels are measured by those of the history."""

    def __init__(self, of: Feed, seed: int) -> None:
        super().__init__(of.stream, seed, of.task.outputs)
        past = torch.tensor(of.stream.labels[: of.stream.live], dtype=torch.float64)
        self.task: Any = of.task.fitted(past) if isinstance(of.task, Regression) else of.task
        self.unit = getattr(self.task, "scale", Scale())

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Return the task's mean loss."""
        answered = (outputs if outputs.dim() > 1 else outputs[:, None]).double() * self.unit.spread + self.unit.mean
        return self.task.losses(answered, labels).mean().float()

    @property
    def said(self) -> Array:
        """What it answered, (N, K)."""
        return self.logits.reshape(len(self.logits), -1) * self.unit.spread + self.unit.mean


class Pooled:
    """The product's live experts beside the network's answers."""

    def __init__(self, of: Feed, deep: Array) -> None:
        self.of, self.deep, self.live = of, deep, pool(Live(), type(of.stream.rows[0]), of.task)
        self.intercept, self.asked = np.zeros(deep.shape[1]), dict[int, Asked]()
        self.said, self.words = np.full(deep.shape, np.nan), np.full((len(deep), self.live.columns), np.nan)

    def answer(self, start: int, stop: int) -> Array:
        """Answer, and record what each expert said."""
        stream = self.of.stream
        self.live.learn([Census(stream.t_ms[start] - 1, start, stream.window_ms)])
        said, served = self.live.answer(stream.rows[start:stop], self.deep[start:stop], self.intercept.tolist())
        self.said[start:stop], self.words[start:stop] = served, said
        for row, one in enumerate(said.tolist(), start):
            self.asked[row] = Asked(str(row), stream.t_ms[row], stream.rows[row], tuple(one))
        return served

    def learn(self, events: Events) -> None:
        """Follow the log."""
        told = []
        for at_ms, row, _ in events:
            label = self.of.stream.labels[row]
            if np.isfinite(self.deep[row]).all():
                slope = self.of.task.residual((self.deep[row] + self.intercept).tolist(), label)
                self.intercept = self.intercept + RATE * np.array(slope)
            told.append(Told(self.asked.pop(row), at_ms, label))
        self.live.learn(told)


class River:
    """A model of River's; numbers standardized as they come."""

    def __init__(self, of: Feed, model: Any) -> None:
        from river.preprocessing import StandardScaler  # noqa: PLC0415

        self.stream, self.outputs, self.model, self.scaler = of.stream, of.task.outputs, model, StandardScaler()
        self.each = isinstance(of.task, MultiLabel)
        self.kinds = list(kinds(type(of.stream.rows[0])).items())
        self.said = np.full((len(of.stream.rows), self.outputs), np.nan)

    def _x(self, row: int, learns: bool = False) -> dict[str, float]:
        numbers, ones = dict[str, float](), list[str]()
        for name, kind in self.kinds:
            value = getattr(self.stream.rows[row], name)
            if kind == "text":
                ones += [f"{name}={word}" for word in sorted(set(WORD.findall(value.lower())))]
            elif value is None or value != value:
                ones.append(f"{name}?")
            else:
                ones += [f"{name}={value}"] * (kind == "category" or (kind == "count" and abs(value) < SMALL))
                numbers |= {name: float(value)} if kind in ("number", "count") else {}
        if learns:
            self.scaler.learn_one(numbers)
        return self.scaler.transform_one(numbers) | dict.fromkeys(ones, 1.0)

    def answer(self, start: int, stop: int) -> Array:
        """Answer."""
        for row in range(start, stop):
            x, keys = self._x(row), range(self.outputs)
            if self.outputs == 1:
                self.said[row] = self.model.predict_one(x)
                continue
            chances = self.model.predict_proba_one(x) or {}
            if self.each:
                p = np.array([chances.get(k, {}).get(True, 0.5) for k in keys]).clip(1e-4, 1 - 1e-4)
                self.said[row] = np.log(p / (1 - p))
            else:
                self.said[row] = np.log([max(chances.get(k, 0.0), 1e-4) for k in keys])
        return self.said[start:stop]

    def learn(self, events: Events) -> None:
        """Learn."""
        for _, row, _ in events:
            label: Any = self.stream.labels[row]
            if self.each:
                label = {k: one > 0 for k, one in enumerate(label)}
            elif self.outputs > 1:
                label = int(label)
            self.model.learn_one(self._x(row, learns=True), label)


def rivers(of: Feed) -> dict[str, River]:
    """Return River's linear models for the task."""
    from river.linear_model import LinearRegression, LogisticRegression, SoftmaxRegression  # noqa: PLC0415
    from river.multiclass import OneVsRestClassifier  # noqa: PLC0415
    from river.multioutput import ClassifierChain, PerOutputClassifier  # noqa: PLC0415
    from river.preprocessing import TargetStandardScaler  # noqa: PLC0415

    models: dict[str, Any]
    if isinstance(of.task, MultiLabel):
        models = {
            "River, each class": PerOutputClassifier(LogisticRegression()),
            "River, a chain of classes": ClassifierChain(LogisticRegression()),
        }
    elif isinstance(of.task, Regression):
        linear = LinearRegression()
        models = {"River linear": linear, "River linear, label standardized": TargetStandardScaler(linear.clone())}
    else:
        models = {
            "River softmax": SoftmaxRegression(),
            "River one against the rest": OneVsRestClassifier(LogisticRegression()),
        }
    return {name: River(of, model) for name, model in models.items()}


# ── Scores ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def measured(of: Feed, seed: int) -> dict[str, dict[str, float]]:
    """Return the task's metrics of each contender on live rows whose outcome came, and its samples a second."""
    network = Network(of, seed)
    replay(of.stream, network)
    began = time.process_time()
    ours = Pooled(of, network.said)
    replay(of.stream, ours)
    a_second = len(of.stream.rows) / (time.process_time() - began)
    columns = ours.words.reshape(len(ours.words), -1, of.task.outputs)
    said = {name: columns[:, n] for n, name in enumerate(ours.live.names)}
    peers = rivers(of)
    for peer in peers.values():
        replay(of.stream, peer)
    answers = said | {"live": ours.said} | {name: peer.said for name, peer in peers.items()}
    found = {name: _scores(of, outputs) for name, outputs in answers.items()}
    found["live"]["samples a second"] = a_second
    return found


def _scores(of: Feed, said: Array) -> dict[str, float]:
    rows = [n for n in range(of.stream.live, len(said)) if of.stream.known_ms[n] < NEVER_MS]
    labels = torch.tensor([of.stream.labels[n] for n in rows], dtype=torch.float64)
    task: Any = of.task.fitted(labels) if isinstance(of.task, Regression) else of.task
    metrics = task.metrics()
    for metric in metrics:
        metric.add(torch.nan_to_num(torch.from_numpy(said[rows])), labels)
    return {metric.name: metric.value for metric in metrics}


def main() -> None:
    """Measure; print a table a stream for people, then one JSON line for programs."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.outcomes", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--data", type=Path)
    parser.add_argument("--streams", nargs="+", default=list(STREAMS), choices=STREAMS)
    parser.add_argument("--seed", type=int, default=0, help="of the network; all others draw no random numbers")
    asked, found = parser.parse_args(), dict[str, Any]()
    for name in asked.streams:
        try:
            of = STREAMS[name](asked.data)
        except Missing as missing:
            print(f"not measured: {name}: {missing}")
            continue
        found[name] = measured(of, asked.seed)
        _show(of.stream, found[name])
    print(json.dumps({"benchmark": "outcomes", "streams": found}))


def _show(stream: Stream, found: dict[str, dict[str, float]]) -> None:
    delays = f"; delay simulated: {stream.simulated}" if stream.simulated else ""
    table = Table(title=f"{stream.name}: {len(stream.rows) - stream.live:,} live{delays}")
    for n, head in enumerate(["", *found["live"]]):
        table.add_column(head, justify="right" if n else "left")
    for name, of in found.items():
        table.add_row(name, *(f"{value:,.4f}" if value < 1_000 else f"{value:,.0f}" for value in of.values()))
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
