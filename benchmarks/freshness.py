"""How long after an outcome was sent the first prediction knows it, and how long an answer takes, at a steady pace.

`python -m benchmarks.freshness [--a-second N] [--told SHARE] [--seconds S] [--sync S]` starts `shadowstream run` with
embedded services, sends so many requests a second and the outcomes of a share of them, and prints a table for people,
then one JSON line for programs: what `status` says (since a joiner had read the outcome), and what a consumer of the
predictions sees (since it was sent). With `--sync` the policy is "continuous", and it says how soon weights know it,
too. The aim at 2,000 a second on two cores: half within 1 s, 99 of 100 within 3 s; and of answers at 1,000, half of
them told, half within 40 ms. Owns the load and the table.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import chdir, closing, contextmanager, suppress
from pathlib import Path

import msgspec
import numpy as np
from rich.console import Console
from rich.table import Table

from deploy.config import Settings
from deploy.monitor import View
from deploy.operate.attach import Attached, attach
from deploy.operate.status import status
from deploy.registry.freshness import Ages, FreshNote
from deploy.registry.reigns import syncs
from streams.errors import ShadowstreamError
from streams.kafka import Sink, Source, Tp

PIPELINE = """
from collections.abc import Sequence
import torch
from msgspec import Struct
from torch import Tensor, nn
from deploy.pipeline import Pipeline
from learners.evaluation.gate import Promotion

class Visit(Struct):
    country: str
    pages: float
    hour: int

def encode(visits: Sequence[Visit]) -> tuple[Tensor, ...]:
    return (torch.tensor([[one.pages, one.hour / 24] for one in visits], dtype=torch.float32),)

def model() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 64), nn.ReLU(), nn.Linear(64, 1))

pipeline = Pipeline(name="fresh", model=model, features=Visit, encode=encode, promotion=Promotion({policy}))
"""
WARM_S, START_S, AGE_S, TICK_S = 20.0, 240.0, 2.0, 0.02


class Learned(msgspec.Struct):
    """Of a prediction: how many outcomes were learned before it."""

    learned: int


class Load:
    """Sends requests, and the outcomes of a share of them after `AGE_S`; keeps when each was sent."""

    def __init__(self, attached: Attached, a_second: int, told: float) -> None:
        topics = attached.settings.topics.named(attached.feed.name)
        self._sink, self._a_second = Sink(attached.broker), a_second
        self._requests, self._outcomes = Tp(topics.requests, 0), Tp(topics.outcomes, 0)
        self._draw, self.sent_s, self.asked_s = np.random.default_rng(0), list[float](), list[float]()
        self._every = round(1 / told)
        self._asked, self._told, self._began_s = 0, 0, time.monotonic()

    def until(self, end_s: float) -> None:
        """Keep the pace until a time."""
        while (now_s := time.monotonic()) < end_s:
            for n in range(self._asked, int((now_s - self._began_s) * self._a_second)):
                self._ask(n)
            told = (now_s - self._began_s - AGE_S) * self._a_second / self._every
            for n in range(len(self.sent_s), int(told)):
                self._tell(n)
            self.asked_s += [time.monotonic()] * (self._asked - len(self.asked_s))
            self._sink.flush()
            self.sent_s += [time.monotonic()] * max(0, self._told - len(self.sent_s))
            time.sleep(TICK_S)

    def _ask(self, n: int) -> None:
        pages, country = self._draw.normal(), int(self._draw.integers(0, 9))
        value = b'{"country":"%d","pages":%.3f,"hour":%d}' % (country, pages, n % 24)
        self._sink.send(self._requests, key=b"id-%d" % n, value=value, t_ms=_now_ms())
        self._asked = n + 1

    def _tell(self, n: int) -> None:
        self._sink.send(
            self._outcomes, key=b"id-%d" % (n * self._every), value=b'{"label":%d}' % (n % 3 == 0), t_ms=_now_ms()
        )
        self._told = n + 1


class Seen:
    """Follows the predictions; keeps when each number of them, and of learned outcomes, was first seen."""

    def __init__(self, attached: Attached) -> None:
        tp = Tp(attached.settings.topics.named(attached.feed.name).predictions, 0)
        self._source = Source(attached.broker, [tp], fetch_wait_ms=5)
        self._source.seek(tp, 0)
        self._ends, self.at, self.answered = False, list[tuple[float, int]](), list[tuple[float, int]]()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def _follow(self) -> None:
        while not self._ends:
            for part in self._source.poll(100, 5_000):
                self.answered.append((time.monotonic(), part.end))
                learned = msgspec.json.decode(part.records[-1].value or b"", type=Learned).learned
                if not self.at or learned > self.at[-1][1]:
                    self.at.append((time.monotonic(), learned))

    def ages_s(self, sent_s: list[float], since_s: float) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
        """Return the age of each outcome sent since a time, at the first prediction seen that knows it."""
        return self._after(self.at, np.arange(1, len(sent_s) + 1), sent_s, since_s)

    def answers_s(self, asked_s: list[float], since_s: float) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
        """Return how long after each request sent since a time its prediction was seen; one had come before them."""
        return self._after(self.answered, np.arange(2, len(asked_s) + 2), asked_s, since_s)

    def end(self) -> None:
        """Follow no more."""
        self._ends = True
        self._thread.join()

    @staticmethod
    def _after(
        seen: list[tuple[float, int]], wanted: "np.ndarray[tuple[int], np.dtype[np.int_]]", sent_s: list[float],
        since_s: float,
    ) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":  # fmt: skip
        times, counts = np.array(seen).T
        known = np.searchsorted(counts, wanted)
        sent = np.array(sent_s)
        chosen = (sent >= since_s) & (known < len(times))
        return np.asarray(times[known[chosen]] - sent[chosen])


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


@contextmanager
def running(folder: Path, sync_s: float | None) -> Iterator[Attached]:
    """Run the pipeline in a process of its own; yield it once it serves."""
    path = folder / "pipeline.py"
    path.write_text(PIPELINE.format(policy="" if sync_s is None else f"policy='continuous', sync_s={sync_s}"))
    command = [sys.executable, "-m", "deploy.cli.main", "run", str(path)]
    with (folder / "run.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, env=os.environ | {"COLUMNS": "120"})
        try:
            _wait(path, folder / "run.log", process)
            with attach(path, Settings()) as attached:
                yield attached
        finally:
            process.terminate()
            process.wait(60)


def _wait(path: Path, log: Path, process: "subprocess.Popen[bytes]") -> None:
    """Wait for the first version, and until its server has answered."""
    end_s = time.monotonic() + START_S
    while time.monotonic() < end_s and process.poll() is None:
        with suppress(ShadowstreamError):
            view = status(path, Settings())
            if isinstance(view, View) and view.champions:
                with attach(path, Settings()) as attached, closing(Sink(attached.broker)) as sink:
                    requests = Tp(attached.settings.topics.named(attached.feed.name).requests, 0)
                    sink.send(requests, key=b"first", value=b'{"country":"0","pages":0,"hour":0}', t_ms=_now_ms())
                    sink.flush()
                    while process.poll() is None and time.monotonic() < end_s:
                        if _look(path).served:
                            return
                        time.sleep(0.5)
        time.sleep(0.5)
    raise SystemExit(f"the run did not start:\n{log.read_text()[-2_000:]}")


def between(before: Ages | None, after: Ages | None) -> dict[str, float]:
    """Return what was counted between two looks: how many, and the buckets' upper ends that half and 99 % have."""
    if after is None:
        return {"count": 0}
    earlier = dict(zip(before.upto_ms, before.counts, strict=True)) if before else {}
    upto = np.array(after.upto_ms)
    counts = np.array([n - earlier.get(ms, 0) for ms, n in zip(after.upto_ms, after.counts, strict=True)])
    reached = np.cumsum(counts) / max(1, counts.sum())
    return {"count": int(counts.sum())} | {
        name: float(upto[np.searchsorted(reached, share)]) / 1_000 for name, share in (("p50_s", 0.5), ("p99_s", 0.99))
    }


def quantiles(ages_s: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> dict[str, float]:
    """Return how many there are, and what half and 99 % have at most."""
    if not len(ages_s):
        return {"count": 0}
    return {"count": len(ages_s), "p50_s": float(np.median(ages_s)), "p99_s": float(np.quantile(ages_s, 0.99))}


def main() -> None:
    """Measure; print a table for people, then one JSON line for programs."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.freshness")
    parser.add_argument("--a-second", type=int, default=2_000)
    parser.add_argument("--told", type=float, default=1.0)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--sync", type=float, help="seconds between two syncs of the weights", metavar="S")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, chdir(name), running(Path(name), asked.sync) as attached:
        path = Path(name) / "pipeline.py"
        seen, load = Seen(attached), Load(attached, asked.a_second, asked.told)
        load.until(time.monotonic() + WARM_S + AGE_S)
        looked, since_s = _look(path), time.monotonic()
        load.until(since_s + asked.seconds)
        after = _look(path)

        seen.end()
        ages_s, answers_s = seen.ages_s(load.sent_s, since_s), seen.answers_s(load.asked_s, since_s)
    before, now = looked.freshness or FreshNote(), after.freshness or FreshNote()
    found = {
        "status": between(before.live, now.live),
        "weights": between(before.weights, now.weights),
        "syncs": syncs(after.champions) - syncs(looked.champions),
        "seen": quantiles(ages_s),
        "answers": quantiles(answers_s),
        "outcomes_a_second": len([s for s in load.sent_s if s >= since_s]) / asked.seconds,
        "unread": after.unread,
        "load": os.getloadavg()[0],
    }
    show(found)


def _look(path: Path) -> View:
    view = status(path, Settings())
    assert isinstance(view, View)
    return view


def show(found: dict[str, object]) -> None:
    """Print the table, and the line."""
    table = Table("since", "events", "half within, s", "99 % within, s")
    names = {
        "status": "an outcome was read by a joiner (`status`)",
        "weights": "so, until the weights that serve know it",
        "seen": "an outcome was sent, as a consumer sees it",
        "answers": "a request was sent, as a consumer sees its answer",
    }
    for who, name in names.items():
        row = found[who]
        assert isinstance(row, dict)
        table.add_row(name, f"{row['count']:,}", *(f"{row.get(key, float('nan')):.3f}" for key in ("p50_s", "p99_s")))
    Console().print(table)
    print(json.dumps({"benchmark": "freshness", **found}))


if __name__ == "__main__":
    main()
