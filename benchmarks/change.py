"""How fast each learner follows a world that changes: loss by 250 samples after the change. No services are needed.

    python -m benchmarks.change [--worlds ...] [--kinds ...] [--seeds N] [--peers]

250 samples a day, outcomes an hour later, labels drawn from a logit that a *kind* of world gives: `reversed` (the sign
of all weights turns), `linear` (each world has weights of its own), `curved` (a random network of its own). 5,000 rows
of history and eight days of the first world, then a change:

    abrupt      another world at once
    gradual     ever more samples are of another world, over 1,000
    recurring   two worlds in turn, 1,500 samples each, four changes
    ten         ten changes to new worlds, 1,500 samples each

The product's own learner, distiller and gate are played in event time: a candidate is made at each day's end, and
serves once it is proven. *retrained* is a float network trained on rows of the new world alone, anew after each 250.
Owns the worlds, the play and the tables. Does not know how anything learns.
"""

import argparse
import json
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
import torch
from msgspec import Raw
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from deploy.learning.bootstrap import study
from deploy.learning.candidates import compress, distil, history, make_learner
from deploy.pipeline import Labelled, Pipeline
from learners.evaluation.gate import Promotion
from learners.evaluation.trials.pair import Compared, Pair
from learners.evaluation.verdict import Kind
from learners.online.batches import Newest
from streams.events import Prediction, Sample

Array = NDArray[np.float64]
DAY, HISTORY, CALM, WORLD, GRADUAL, FEATURES = 250, 5_000, 2_000, 1_500, 1_000, 4
SHOWN = 6  # windows of DAY samples after a change
DAY_MS, DELAY_MS, START_MS = 86_400_000, 3_600_000, 15_706 * 86_400_000
SLICE = 10  # samples that are answered together: about an hour
STEEP = 3.0  # the logit's spread
POLICY = Promotion(every_days=1, candidates_a_year=365)
KINDS, WORLDS = ("reversed", "linear", "curved"), ("abrupt", "gradual", "recurring", "ten")


class Row(msgspec.Struct, gc=False):
    """The features: all are normal numbers."""

    a: float
    b: float
    c: float
    d: float


class Feed(NamedTuple):
    """Rows x (N, features), labels y (N,), the best chances (N,), and where the world changes, after the history."""

    x: Array
    y: Array
    best: Array
    changes: list[int]


# ── Worlds ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def logits(kind: str, world: int, x: Array, seed: int) -> Array:
    """Return the true logits (N,) of a world, of spread STEEP."""
    draw = np.random.default_rng([seed, world if kind != "reversed" else 0, KINDS.index(kind)])
    if kind == "curved":
        first, second = draw.normal(0, 1.2, (FEATURES, 16)), draw.normal(0, 1, 16)
        z = np.tanh(x @ first + draw.normal(0, 1, 16)) @ second
        sample = np.random.default_rng(0).normal(0, 1, (4_000, FEATURES))
        of = np.tanh(sample @ first + np.zeros(16)) @ second
        return np.asarray(STEEP * (z - of.mean()) / of.std())
    weights = draw.normal(0, 1, FEATURES)
    sign = -1.0 if kind == "reversed" and world % 2 else 1.0
    return np.asarray(sign * STEEP * (x @ weights) / np.linalg.norm(weights))


def feed(kind: str, plan: str, seed: int) -> Feed:
    """Draw a feed: the history is of world 0."""
    lengths = {"abrupt": [2], "gradual": [2], "recurring": [1] * 4, "ten": [1] * 10}[plan]
    changes = [HISTORY + CALM + WORLD * sum(lengths[:n]) for n in range(len(lengths))]
    n = changes[-1] + WORLD * lengths[-1]
    draw = np.random.default_rng([seed, 7])
    x, at = draw.normal(0, 1, (n, FEATURES)).round(4), np.arange(n)
    world = np.searchsorted(changes, at, side="right")
    if plan == "gradual":
        world = (draw.random(n) < (at - changes[0]) / GRADUAL).astype(int)
    if plan == "recurring":
        world %= 2
    z = np.choose(world, [logits(kind, k, x, seed) for k in range(world.max() + 1)])
    p = 1 / (1 + np.exp(-z))
    return Feed(x, (draw.random(n) < p).astype(float), p, changes)


# ── The product ─────────────────────────────────────────────────────────────────────────────────────────────────────


def encode(rows: Sequence[Row]) -> tuple[Tensor, ...]:
    """Return rows (N, features)."""
    return (torch.tensor([msgspec.structs.astuple(row) for row in rows]),)


def net() -> nn.Module:
    """Return the network of all."""
    return nn.Sequential(nn.Linear(FEATURES, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))


class Product:
    """Learner, candidates and champion of a feed, played in event time."""

    def __init__(self, given: Feed, seed: int) -> None:
        self.rows = [Row(*row) for row in given.x.tolist()]
        self.given = given
        past = [Labelled(*one) for one in zip(self.rows[:HISTORY], given.y[:HISTORY].tolist(), strict=True)]
        self.pipeline = Pipeline(
            name="change", model=net, features=Row, encode=encode, promotion=POLICY, history=lambda: past, seed=seed
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
        self.promoted: list[int] = []
        self.alarms: list[tuple[int, int]] = []

    def play(self) -> dict[str, Array]:
        """Return the chances (N,) that each part gave of the rows after the history."""
        waiting: list[tuple[int, Sample]] = []
        for start in range(HISTORY, len(self.rows), SLICE):
            now_ms = self._at_ms(start)
            told = [sample for due_ms, sample in waiting if due_ms <= now_ms]
            waiting = [one for one in waiting if one[0] > now_ms]
            self._learn(told)
            if (start - HISTORY) % DAY == 0 and start > HISTORY:
                self._distil()
            self.learner.count(now_ms - 1, start - HISTORY, 7 * DAY_MS)
            waiting += [(sample.label_t, sample) for sample in self._answer(start, start + SLICE)]
        return {name: np.array(z) for name, z in self.found.items()}

    def _at_ms(self, row: int) -> int:
        return START_MS + (row - HISTORY) * DAY_MS // DAY

    def _answer(self, start: int, stop: int) -> list[Sample]:
        rows, learner = tuple(self.rows[start:stop]), self.learner
        inputs, b = encode(rows), learner.intercept.value
        with torch.no_grad():
            z = self.champion(*inputs)[:, 0].double().numpy()
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
            t_ms, id_ = self._at_ms(start + n), str(start + n)
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
        assert self.learner.live is not None
        if self.learner.live.changes_seen > len(self.alarms):
            self.alarms.append((int(samples[-1].id), HISTORY + (self.learner.changed_ms - START_MS) * DAY // DAY_MS))

    def _judge(self, samples: Sequence[Sample]) -> None:
        """Compare candidates with the version, as an evaluator does; a proven one serves at once, the others go."""
        for model, pair in list(self.candidates):
            pair.look(self._compared(model, samples), POLICY.log_needed(Kind.REFRESH))
            if pair.log_against >= -math.log(POLICY.futility):
                self.candidates.remove((model, pair))
            if pair.proven_day is not None:
                self.champion, self.candidates = model, []
                self.promoted.append(int(samples[-1].id))
                return

    def _compared(self, model: nn.Module, samples: Sequence[Sample]) -> Compared:
        task, b = self.learner.task, self.learner.intercept.value[0]
        inputs = self.pipeline.encoder().inputs(samples)
        y = torch.tensor([float(sample.label) for sample in samples])  # type: ignore[arg-type]
        theirs = torch.tensor([sample.prediction.bare for sample in samples])
        with torch.no_grad():
            ours = model(*inputs) + b
        parts = (
            task.losses(theirs, y) - task.losses(ours, y),
            task.worst_gap(ours, theirs),
            task.worst_gap(theirs, ours),
        )
        t_ms, known = np.array([sample.t for sample in samples]), np.ones(len(samples), bool)
        ends = np.flatnonzero((np.array([int(sample.id) for sample in samples]) + 1 - HISTORY) % DAY == 0)
        given = (part.double().numpy() for part in parts)
        return Compared(t_ms, *given, known, ~known, len(samples), ends)

    def _distil(self) -> None:
        made, _, _ = distil(self.pipeline, self.learner, list(self.replay))
        if not made.refusal:
            from_ms = max(sample.t for sample in self.replay) + 1
            pair = Pair("version", 0, from_ms, POLICY.margin * 0.4, 1.0, 1.0)
            self.candidates = [*self.candidates, (made.model, pair)][-POLICY.trials :]


# ── Others ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def chances(logits: Array) -> Array:
    """Return chances, none surer than a served one is."""
    return np.asarray(1 / (1 + np.exp(-np.clip(logits, -9, 9))))


def retrained(given: Feed, seed: int) -> Array:
    """Return chances (N,) of a network trained on the rows since the last change, anew after each 250."""
    found = np.full(len(given.y), 0.5)
    x, y = torch.tensor(given.x, dtype=torch.float32), torch.tensor(given.y, dtype=torch.float32)
    for change, end in zip(given.changes, [*given.changes[1:], len(given.y)], strict=True):
        for start in range(change, min(end, change + SHOWN * DAY), DAY):
            known = slice(change, start)
            if start > change:
                found[start : start + DAY] = chances(_trained(x[known], y[known], seed)(x[start : start + DAY]))
    return found[HISTORY:]


def _trained(x: Tensor, y: Tensor, seed: int) -> Callable[[Tensor], Array]:
    """Return a network trained on rows, for as many passes as is best on a fifth of them, held out."""
    torch.manual_seed(seed)
    order = torch.randperm(len(x))
    held, kept = order[: len(x) // 5], order[len(x) // 5 :]
    model, loss = net(), nn.functional.binary_cross_entropy_with_logits
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.1)
    best, least = {}, math.inf
    for _ in range(30):
        for chosen in torch.split(kept[torch.randperm(len(kept))], 32):
            optimizer.zero_grad()
            loss(model(x[chosen])[:, 0], y[chosen]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        with torch.no_grad():
            now = float(loss(model(x[held])[:, 0], y[held]))
        if now < least:
            best, least = {k: v.clone() for k, v in model.state_dict().items()}, now
    model.load_state_dict(best)
    return lambda rows: model(rows)[:, 0].detach().double().numpy()


def river(name: str) -> Callable[[Feed, int], Array]:
    """Return what plays one of River's trees, which learns each outcome an hour later."""

    def play(given: Feed, seed: int) -> Array:
        from river import forest, tree  # noqa: PLC0415 an extra of this benchmark

        model: Any = (
            forest.ARFClassifier(seed=seed) if name == "forest" else tree.HoeffdingAdaptiveTreeClassifier(seed=seed)
        )
        found, rows = np.full(len(given.y), 0.5), [dict(enumerate(row)) for row in given.x.tolist()]
        for n, row in enumerate(rows):
            if n >= HISTORY:
                found[n] = model.predict_proba_one(row).get(True, 0.5)
            known = n - SLICE if n >= HISTORY + SLICE else n if n < HISTORY else -1
            if known >= 0:
                model.learn_one(rows[known], bool(given.y[known]))
        return np.asarray(np.clip(found[HISTORY:], 1e-4, 1 - 1e-4))

    return play


# ── Tables ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def losses(given: Feed, chances: Array) -> Array:
    """Return the mean log loss before each change, and in each window after it: (changes, 1 + SHOWN)."""
    y = given.y[HISTORY:]
    of = -np.log(np.where(y > 0, chances, 1 - chances))
    starts = [change - HISTORY for change in given.changes]
    windows = [[of[at - 2 * DAY : at]] + [of[at + k * DAY : at + (k + 1) * DAY] for k in range(SHOWN)] for at in starts]
    return np.array([[window.mean() for window in row] for row in windows])


def main() -> None:
    """Play; print a table a world for people, then one JSON line for programs."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.change")
    parser.add_argument("--worlds", nargs="+", default=list(WORLDS), choices=WORLDS)
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--peers", action="store_true", help="River's adaptive random forest and Hoeffding adaptive tree"
    )
    asked = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, Any] = {}
    for plan in asked.worlds:
        for kind in asked.kinds:
            runs = [_run(kind, plan, seed, asked.peers) for seed in range(asked.seeds)]
            found[f"{plan}, {kind}"] = of = {name: np.mean([run[name] for run in runs], axis=0) for name in runs[0]}
            _show(f"{plan}, {kind}", of)
    print(json.dumps({k: {name: of.tolist() for name, of in v.items()} for k, v in found.items()}))


def _run(kind: str, plan: str, seed: int, peers: bool) -> dict[str, Array]:
    given = feed(kind, plan, seed)
    product = Product(given, seed)
    answers = product.play()
    answers |= {"retrained": retrained(given, seed), "best": given.best[HISTORY:]}
    answers |= {name: river(name)(given, seed) for name in ("forest", "tree") if peers}
    print(
        f"{plan}, {kind}, seed {seed}: changes {given.changes}, promoted {product.promoted}, alarms {product.alarms}",
        flush=True,
    )
    return {name: losses(given, of) for name, of in answers.items()}


def _show(title: str, found: dict[str, Array]) -> None:
    table = Table(title=title)
    for n, head in enumerate(["", "change", "before", *(f"to {DAY * (k + 1)}" for k in range(SHOWN))]):
        table.add_column(head, justify="right" if n else "left")
    for name, of in found.items():
        for n in sorted({0, len(of) - 1}):
            table.add_row(name if n == 0 else "", str(n + 1), *(f"{loss:.3f}" for loss in of[n]))
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
