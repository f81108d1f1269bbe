"""How well live experts answer real streams of several classes, and of numbers, beside River: one table a stream.

    python -m benchmarks.outcomes --data FOLDER

All learn from the same events in the same order, and know only what had landed. Digits are scikit-learn's, segments
River's; FOLDER holds gitbugs-hadoop/ and hotel-bookings/ (benchmarks/feeds.py). Needs River and scikit-learn in this
environment (`pip install 'shadowstream[experts]' scikit-learn`). Owns these streams and contenders, and the table.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks import feeds
from benchmarks.feeds import DAY_MS, HOUR_MS, WINDOW_MS, Missing, Stream, kinds
from benchmarks.network import WORD, Deep
from benchmarks.peers.replay import NEVER_MS, replay
from compressors.scale import Scale
from learners.live.held import Asked, Census, Told
from learners.live.make import pool
from learners.live.settings import Live
from learners.tasks.classes import Classes
from learners.tasks.regression import Regression

Array = NDArray[np.float64]
Events = Sequence[tuple[int, int, int]]
RATE, SMALL = 0.01, 256  # of the intercept; a count below it is a category too
STATUS = ("Check-Out", "Canceled", "No-Show")


@dataclass(frozen=True)
class Feed:
    """A stream and the task of its outcomes."""

    stream: Stream
    task: Classes | Regression


# ── Streams ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _plain(name: str, table: list[dict[str, Any]], labels: Sequence[float], live: int) -> Stream:
    """Return a table without times: a row a second, told ten seconds later."""
    row = msgspec.defstruct("Row", [(field.replace("-", "_"), float) for field in table[0]], gc=False)
    rows, t_ms = [row(*map(float, one.values())) for one in table], [1_000 * n for n in range(len(table))]
    known = [ms + 10_000 for ms in t_ms]
    return Stream(name, rows, t_ms, known, list(map(float, labels)), live, simulated="10 rows")


def digits(_: Path | None) -> Feed:
    """Handwritten digits, 8 × 8 pixels."""
    from sklearn.datasets import load_digits  # noqa: PLC0415 an extra of this benchmark

    pixels, labels = load_digits(return_X_y=True)
    table = [{f"x{n}": x for n, x in enumerate(row)} for row in pixels]
    return Feed(_plain("digits", table, labels, 200), Classes(10))


def segments(_: Path | None) -> Feed:
    """Patches of images, of seven kinds."""
    from river.datasets import ImageSegments  # noqa: PLC0415

    table, names = zip(*ImageSegments(), strict=True)
    order = sorted(set(names))
    return Feed(_plain("segments", list(table), [order.index(name) for name in names], 200), Classes(len(order)))


def priority(data: Path | None) -> Feed:
    """Which of five priorities a bug report gets, from its text; told an hour later."""
    rows = list(feeds._csv(data, "gitbugs-hadoop/hadoop_bugs.csv.gz"))
    order = sorted({row["priority"] for row in rows})
    fields = [("versions", str | None), ("text", str), ("length", int), ("weekday", int), ("hour", int)]
    kind, made = msgspec.defstruct("Report", fields, gc=False), []
    for row in rows:
        text, at = f"{row['summary']} {row['description']}", feeds._time(row["created_at"])
        made.append(kind(row["affects_versions"] or None, text, len(text), at.weekday(), at.hour))
    t_ms = [feeds._ms(row["created_at"]) for row in rows]
    labels = [float(order.index(row["priority"])) for row in rows]
    told = [ms + HOUR_MS for ms in t_ms]
    return Feed(Stream("priority", made, t_ms, told, labels, 500, simulated="1 hour"), Classes(len(order)))


def status(data: Path | None) -> Feed:
    """Whether hotel guests came, cancelled, or did neither; told when that was known, months later."""
    stream = feeds.hotel(data)
    table = feeds._csv(data, "hotel-bookings/hotel_bookings.csv.gz")
    told = [row["reservation_status"] for row in table if date.fromisoformat(row["booked_on"]) >= date(2015, 7, 1)]
    labels = [float(STATUS.index(name)) for name in told]
    return Feed(Stream("status", stream.rows, stream.t_ms, stream.known_ms, labels, stream.live), Classes(STATUS))


def delay_class(data: Path | None) -> Feed:
    """Flights to April: early, less than 15 minutes late, than 60, or more."""
    stream = _minutes("delay class", data)
    labels = np.digitize(stream.labels, [0, 15, 60]).astype(float).tolist()
    return Feed(
        Stream("delay class", stream.rows, stream.t_ms, stream.known_ms, labels, stream.live, WINDOW_MS), Classes(4)
    )


def delay(data: Path | None) -> Feed:
    """How many minutes late flights to April are."""
    return Feed(_minutes("delay", data), Regression())


def price(data: Path | None) -> Feed:
    """The price of a night in a hotel, a day later."""
    stream = feeds.hotel(data)
    rows = [msgspec.structs.replace(row, adr=0.0) for row in stream.rows]
    told = [ms + DAY_MS for ms in stream.t_ms]
    labels = [row.adr for row in stream.rows]
    return Feed(Stream("price", rows, stream.t_ms, told, labels, stream.live, simulated="1 day"), Regression())


def approval(_: Path | None) -> Feed:
    """The approval of a president, from five polls."""
    from river.datasets import TrumpApproval  # noqa: PLC0415

    table, labels = zip(*TrumpApproval(), strict=True)
    return Feed(_plain("approval", list(table), labels, 100), Regression())


def _minutes(name: str, data: Path | None) -> Stream:
    try:
        from examples.flights.pipeline import Flight, flights  # noqa: PLC0415 it needs pandas and the data

        table = flights()
    except (ImportError, ValueError) as error:
        raise Missing(f"pip install 'shadowstream[examples]' ({error})") from None
    table = table[(table.month <= 4) & ~table.arr_delay.isna()]
    rows = list(map(Flight, *(table[name].tolist() for name in Flight.__struct_fields__)))
    t_ms, told = table.departs_ms.tolist(), table.arrives_ms.astype(int).tolist()
    return Stream(name, rows, t_ms, told, table.arr_delay.tolist(), int((table.month == 1).sum()), WINDOW_MS)


STREAMS: dict[str, Callable[[Path | None], Feed]] = {
    "digits": digits,
    "segments": segments,
    "priority": priority,
    "delay-class": delay_class,
    "status": status,
    "delay": delay,
    "price": price,
    "approval": approval,
}

# ── Contenders: each fills `said` (N, K), outputs of the task, as it is asked ───────────────────────────────────────


class Network(Deep):
    """The network of benchmarks/network.py, for a task; labels are measured by those of the history."""

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
            if self.outputs == 1:
                self.said[row] = self.model.predict_one(self._x(row))
            else:
                chances = self.model.predict_proba_one(self._x(row)) or {}
                self.said[row] = np.log([max(chances.get(k, 0.0), 1e-4) for k in range(self.outputs)])
        return self.said[start:stop]

    def learn(self, events: Events) -> None:
        """Learn."""
        for _, row, _ in events:
            label = self.stream.labels[row]
            self.model.learn_one(self._x(row, learns=True), label if self.outputs == 1 else int(label))


def rivers(of: Feed) -> dict[str, River]:
    """Return River's linear models for the task."""
    from river.linear_model import LinearRegression, LogisticRegression, SoftmaxRegression  # noqa: PLC0415
    from river.multiclass import OneVsRestClassifier  # noqa: PLC0415
    from river.preprocessing import TargetStandardScaler  # noqa: PLC0415

    models: dict[str, Any] = {
        "River softmax": SoftmaxRegression(),
        "River one against the rest": OneVsRestClassifier(LogisticRegression()),
    }
    if isinstance(of.task, Regression):
        linear = LinearRegression()
        models = {"River linear": linear, "River linear, label standardized": TargetStandardScaler(linear.clone())}
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
