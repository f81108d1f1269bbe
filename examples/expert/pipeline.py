"""Which web sites phish? A model of River and one of Vowpal Wabbit answer beside Shadowstream's own live experts.

    pip install 'shadowstream[experts]'
    shadowstream run pipeline.py --replay

Owns the two experts, and a feed of the 1,250 sites in River's package (Mohammad, Thabtah & McCluskey 2014, CC BY 4.0):
the first 250 are history, then one is asked about each minute, and ten minutes later it is known. Knows only the public
names of `shadowstream`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from heapq import merge
from itertools import islice
from operator import itemgetter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from river.datasets import Phishing
from river.linear_model import LogisticRegression
from river.preprocessing import StandardScaler
from torch import Tensor, nn
from vowpalwabbit import Workspace

from shadowstream import FeedEvent, Labelled, Live, Online, Pipeline, pickled, unpickled

Numbers = NDArray[np.float64]
HISTORY = 250
START_MS, MINUTE_MS = 1_420_070_400_000, 60_000  # 2015
VW = "--quiet --loss_function logistic --preserve_performance_counters"  # a file that was read is written as it was


class Site(msgspec.Struct):
    """What is seen of a site; 0, ½ or 1 each."""

    empty_server_form_handler: float
    popup_window: float
    https: float
    request_from_other_domain: float
    anchor_from_other_domain: float
    is_popular: float
    long_url: float
    age_of_domain: float
    ip_in_url: float


def numbers(site: Site) -> dict[str, float]:
    """Return the numbers by name, none of them wild: a request may hold any, and a NaN becomes −10."""
    return {name: min(10.0, max(-10.0, value)) for name, value in msgspec.structs.asdict(site).items()}


# ── The experts ─────────────────────────────────────────────────────────────────────────────────────────────────────


class River:
    """A classifier of River's: one dict of numbers at a time, and a chance."""

    names = ("river",)

    def __init__(self) -> None:
        self.model = StandardScaler() | LogisticRegression()

    def answer(self, rows: Sequence[Site]) -> Numbers:
        p = np.array([[self.model.predict_proba_one(numbers(row)).get(True, 0.5)] for row in rows]).clip(1e-4, 1 - 1e-4)
        logits: Numbers = np.log(p / (1 - p))
        return logits

    def learn(self, rows: Sequence[Site], labels: Numbers, weights: Numbers) -> None:
        for row, label in zip(rows, labels, strict=True):
            self.model.learn_one(numbers(row), bool(label))

    def state(self) -> dict[str, Tensor]:
        return {"model": pickled(self.model)}

    def load(self, state: Mapping[str, Tensor]) -> None:
        self.model = unpickled(state["model"], "river")


class Vowpal:
    """A workspace of Vowpal Wabbit's: one line of text at a time, and a logit; a file is its state."""

    names = ("vw",)

    def __init__(self) -> None:
        self.model = Workspace(VW)

    def answer(self, rows: Sequence[Site]) -> Numbers:
        return np.array([[float(self.model.predict(line(row)))] for row in rows])

    def learn(self, rows: Sequence[Site], labels: Numbers, weights: Numbers) -> None:
        for row, label, weight in zip(rows, labels, weights, strict=True):
            self.model.learn(f"{1 if label else -1} {weight} {line(row)}")

    def state(self) -> dict[str, Tensor]:
        with TemporaryDirectory() as folder:
            self.model.save(file := Path(folder, "model"))
            return {"model": pickled(file.read_bytes())}

    def load(self, state: Mapping[str, Tensor]) -> None:
        with TemporaryDirectory() as folder:
            (file := Path(folder, "model")).write_bytes(unpickled(state["model"]))
            self.model = Workspace(f"{VW} -i {file}")


def line(site: Site) -> str:
    """Return a site in Vowpal Wabbit's words."""
    return "| " + " ".join(f"{name}:{value}" for name, value in numbers(site).items())


# ── Model and feed ──────────────────────────────────────────────────────────────────────────────────────────────────


def encode(sites: Sequence[Site]) -> tuple[Tensor]:
    """Return the model's input (N, 9)."""
    return (torch.tensor([list(numbers(site).values()) for site in sites]),)


def model() -> nn.Module:
    """Return a new network."""
    return nn.Sequential(nn.Linear(9, 32), nn.ReLU(), nn.Linear(32, 1))


def history() -> Iterator[Labelled]:
    """Return the first sites, whose labels are known before the feed begins."""
    return (Labelled(Site(**x), float(y)) for x, y in islice(Phishing(), HISTORY))


def feed() -> Iterator[FeedEvent]:
    """Yield requests and outcomes in the order in which they happen."""
    return merge(_events("requests", 0), _events("outcomes", 10 * MINUTE_MS), key=itemgetter(0))


def _events(topic: str, after_ms: int) -> Iterable[FeedEvent]:
    for n, (x, y) in enumerate(islice(Phishing(), HISTORY, None)):
        value: dict[str, Any] = {"label": int(y)} if topic == "outcomes" else x
        yield FeedEvent(START_MS + n * MINUTE_MS + after_ms, topic, b"site-%d" % n, msgspec.json.encode(value))


pipeline = Pipeline(
    name="phishing",
    model=model,
    features=Site,
    encode=encode,
    online=Online(learning_rate=0.01, half_life=200),
    live=Live(experts=[River, Vowpal]),
    history=history,
    feed=feed,
)
