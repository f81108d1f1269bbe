"""Choosing a recipe: tries many on a part of the data, the better half of them on more, and names one with its reason.

Owns the search (successive halving, Jamieson & Talwalkar, arXiv 1502.07943: the better half goes on, on 1/27, 1/9, 1/3
and all of the rows), what fits a budget, and the front. Does not know how a recipe is carried out, or tables.
"""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import torch
from torch import Tensor, nn

from compressors.compress import Refused, compress
from compressors.distill import Data, Losses
from compressors.recipe import Prune, Quantize, Recipe, Retrain

RUNGS = (1 / 27, 1 / 9, 1 / 3, 1.0)
KEPT = 0.5  # of the recipes on a rung go on to the next; keeping a quarter lost 0.003 to 0.004 nats on flights
HELD_OUT = 0.1  # the newest share of the rows, on which every trial is measured
REPEATS = 30


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What a model may take; None is no bound. `latency_us` is the median of a call with `rows` rows, on one thread.

    `loss` is how much worse than the model itself it may be, in the task's loss; `minutes` bounds the search.
    """

    latency_us: float | None = None
    bytes: int | None = None
    loss: float | None = None
    minutes: float | None = None
    rows: int = 1

    def __post_init__(self) -> None:
        for name in ("latency_us", "bytes", "minutes"):
            bound = getattr(self, name)
            if bound is not None and not bound > 0:
                raise ValueError(f"budget.{name} must be positive, got {bound}")
        if self.loss is not None and not self.loss >= 0:
            raise ValueError(f"budget.loss is what may be lost, at least 0, got {self.loss}")
        if self.rows < 1:
            raise ValueError(f"budget.rows must be at least 1, got {self.rows}")


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One recipe tried on a share of the rows; `refused` says why it came to nothing.

    `loss` is above the model's own, by held-out rows; `error` its standard error.
    """

    recipe: str
    share: float
    loss: float = math.inf
    error: float = 0.0
    bytes: int = 0
    latency_us: float = math.inf
    refused: str = ""


class Advice(NamedTuple):
    """The last trial of each recipe, the front among them, the pick (None: none fits), and why it is that."""

    trials: list[Trial]
    front: list[Trial]
    pick: Trial | None
    why: str
    complete: bool


Said = Callable[[int, int, float], object]  # trials done, of how many, seconds left by what one took


def advise(
    model: nn.Module,
    data: Data,
    losses: Losses,
    budget: Budget,
    recipes: Sequence[Recipe],
    *,
    seed: int = 0,
    notes: Path | None = None,
    said: Said | None = None,
) -> Advice:
    """Try recipes on `model`; Ctrl-C or the end of the minutes gives the best so far.

    `data` are the rows to learn on, oldest first, and the newest tenth those to measure on. What was tried is kept in
    the file `notes` and not tried again, as long as model, data and seed are the same.

    Raises:
        ValueError: no recipes, or as `compress` for what no recipe is at fault for.
    """
    if not recipes:
        raise ValueError("there are no recipes to try")
    search = _Search(model, data, losses, budget, seed, _Notes(notes, _key(model, data, seed)))
    complete = True
    try:
        search.climb(list(dict.fromkeys(recipes)), said)
    except (KeyboardInterrupt, _OutOfTime):
        complete = False
    return _advice(list(search.newest.values()), budget, complete)


def usual(training: Retrain) -> list[Recipe]:
    """Give the recipes that are worth a try on most models: some sparsities with some widths of numbers, retrained."""
    prunes = [None, *(Prune(amount=amount) for amount in (0.5, 0.8, 0.9)), Prune(pattern="2:4")]
    quantizes = [None, Quantize("int8"), Quantize("int4", group=32), Quantize("bfloat16")]
    chains = [[step for step in (p, q) if step] for p in prunes for q in quantizes]
    return [Recipe(*chain, training) for chain in chains if chain]


def choose(trials: Iterable[Trial], budget: Budget) -> tuple[Trial | None, str]:
    """Pick a trial and say why: of those that fit and are within one standard error of the best, the fastest."""
    sound = [t for t in trials if not t.refused]
    fitting = [t for t in sound if _fits(t, budget)]
    if not fitting:
        return None, _nearest(sound, budget)
    share = max(t.share for t in fitting)
    final = [t for t in fitting if t.share == share]
    best = min(final, key=lambda t: t.loss)
    close = [t for t in final if t.loss <= best.loss + best.error]
    pick = min(close, key=lambda t: (t.latency_us, t.bytes))
    reason = f"of {len(fitting)} that fit the budget, {len(close)} are within one standard error of the lowest loss"
    return pick, f"{reason} ({best.loss:+.4f} ± {best.error:.4f}), and this one is the fastest of them"


def front(trials: Iterable[Trial]) -> list[Trial]:
    """Give the trials that no other one beats in loss, bytes and latency at once, the lowest loss first."""
    sound = sorted((t for t in trials if not t.refused), key=lambda t: (t.loss, t.latency_us, t.bytes))
    return [t for t in sound if not any(_beats(other, t) for other in sound)]


def latency_us(model: nn.Module, inputs: tuple[Tensor, ...], rows: int) -> float:
    """Time a call with `rows` rows on one thread: the median of 30, in microseconds."""
    part = tuple(t[torch.arange(rows) % len(t)] for t in inputs)
    threads, took = torch.get_num_threads(), []
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            for _ in range(REPEATS + 3):
                began = time.perf_counter_ns()
                model(*part)
                took.append((time.perf_counter_ns() - began) / 1_000)
    finally:
        torch.set_num_threads(threads)
    return sorted(took[3:])[REPEATS // 2]


class _OutOfTime(Exception):
    pass


class _Search:
    def __init__(
        self, model: nn.Module, data: Data, losses: Losses, budget: Budget, seed: int, notes: "_Notes"
    ) -> None:
        self._model, self._data, self._losses, self._budget, self._seed = model, data, losses, budget, seed
        self._notes, self._began, self._tried = notes, time.monotonic(), 0
        size = len(data.labels)
        self._held = Data(*data.at(torch.arange(size - max(1, round(HELD_OUT * size)), size)))
        self.newest: dict[str, Trial] = {}

    def climb(self, recipes: list[Recipe], said: Said | None) -> None:
        sizes = [len(recipes)]
        for _ in RUNGS[1:]:
            sizes.append(max(1, math.ceil(sizes[-1] * KEPT)))
        work, done = sum(size * share for size, share in zip(sizes, RUNGS, strict=True)), 0.0
        for at, share in enumerate(RUNGS):
            found = []
            for recipe in recipes:
                found.append((self._try(recipe, share), recipe))
                done += share
                self._tried += 1
                if said:
                    said(self._tried, sum(sizes), (time.monotonic() - self._began) * max(0.0, work / done - 1))
            good = [pair for pair in found if not pair[0].refused]
            fit = [pair for pair in good if _fits(pair[0], self._budget, loss=False)] or good
            fit.sort(key=lambda pair: pair[0].loss)
            recipes = [recipe for _, recipe in fit[: sizes[at + 1]]] if share < 1 else []

    def _try(self, recipe: Recipe, share: float) -> Trial:
        if (known := self._notes.get(recipe, share)) is None:
            minutes = self._budget.minutes
            if minutes is not None and time.monotonic() - self._began > 60 * minutes:
                raise _OutOfTime
            known = self._measured(recipe, share)
            self._notes.put(known)
        self.newest[known.recipe] = known
        return known

    def _measured(self, recipe: Recipe, share: float) -> Trial:
        size = len(self._data.labels) - len(self._held.labels)
        part = Data(*self._data.at(torch.arange(size - max(1, round(share * size)), size)))  # the newest
        try:
            made = compress(self._model, recipe, part, self._losses, held=self._held, seed=self._seed)
        except (ValueError, Refused) as wrong:
            return Trial(recipe=str(recipe), share=share, refused=str(wrong))
        return Trial(
            recipe=str(recipe),
            share=share,
            loss=made.loss_after - made.loss_before,
            error=made.loss_error,
            bytes=len(made.artifact),
            latency_us=latency_us(made.model, self._held.inputs, self._budget.rows),
        )


class _Notes:
    """A file of trials, one JSON line each, under the key of what they were made with."""

    def __init__(self, path: Path | None, key: str) -> None:
        self._path, self._key = path, key
        self._known: dict[tuple[str, float], Trial] = {}
        for line in path.read_bytes().splitlines() if path and path.exists() else ():
            try:
                note = msgspec.json.decode(line)
                if note.pop("key") == key:
                    trial = msgspec.convert(note, Trial)
                    self._known[trial.recipe, trial.share] = trial
            except (msgspec.DecodeError, msgspec.ValidationError, KeyError, AttributeError):
                continue  # a line that a crash cut short is tried again

    def get(self, recipe: Recipe, share: float) -> Trial | None:
        return self._known.get((str(recipe), share))

    def put(self, trial: Trial) -> None:
        if self._path:
            with self._path.open("ab") as out:
                out.write(msgspec.json.encode({"key": self._key} | asdict(trial)) + b"\n")


def _advice(trials: list[Trial], budget: Budget, complete: bool) -> Advice:
    pick, why = choose(trials, budget)
    return Advice(trials, front(trials), pick, why, complete)


def _fits(trial: Trial, budget: Budget, *, loss: bool = True) -> bool:
    bounds: list[tuple[Any, Any]] = [(trial.latency_us, budget.latency_us), (trial.bytes, budget.bytes)]
    bounds += [(trial.loss, budget.loss)] if loss else []
    return all(bound is None or value <= bound for value, bound in bounds)


def _nearest(sound: Sequence[Trial], budget: Budget) -> str:
    if not sound:
        return "no recipe could be carried out on this model"
    least = min(t.bytes for t in sound), min(t.latency_us for t in sound), min(t.loss for t in sound)
    return (
        f"nothing fits {budget}: the smallest takes {least[0]:,} bytes, the fastest {least[1]:.0f} µs, and the lowest "
        f"loss is {least[2]:+.4f}"
    )


def _beats(a: Trial, b: Trial) -> bool:
    ours, theirs = (a.loss, a.bytes, a.latency_us), (b.loss, b.bytes, b.latency_us)
    return ours != theirs and all(x <= y for x, y in zip(ours, theirs, strict=True))


def _key(model: nn.Module, data: Data, seed: int) -> str:
    known = sha256(str(seed).encode())
    for tensor in (*model.state_dict().values(), *data.inputs, data.labels):
        known.update(tensor.detach().contiguous().view(torch.uint8).numpy().tobytes() if tensor.numel() else b"")
    return known.hexdigest()[:16]
