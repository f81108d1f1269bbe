"""The search for a recipe: successive halving, what a trial measures, and the notes from which a search is resumed.

Owns the budget, the trials and their order (Jamieson & Talwalkar, arXiv 1502.07943: all recipes are tried on 1/27 of
the rows, then the better half on 1/9, 1/3 and all). Does not know which one is picked, or how a recipe is carried out.
"""

import copy
import math
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import Tensor, nn

from compressors.arguments import named
from compressors.artifact.make import bytes_of
from compressors.compress import compress
from compressors.data import Data, Losses
from compressors.engines.engine import Engine
from compressors.engines.fastest import Timing, fastest
from compressors.errors import EmptiedWarning, OutOfTime
from compressors.recipe import Recipe
from compressors.rows import Rows

RUNGS = (1 / 27, 1 / 9, 1 / 3, 1.0)
KEPT = 0.5  # share of the recipes that goes on to the next rung; a quarter costs 0.003 to 0.004 nats on flights
HELD_OUT = 0.1  # the newest share of the rows, on which every trial is measured
SAMPLES = 64  # least number of rows on which an engine must agree
TIMED_S = 0.05  # seconds for which each engine is timed

Said = Callable[[int, int, float], object]  # trials done, of how many, and an estimate of the seconds left


@named(ValueError, types=False)
@dataclass(frozen=True, kw_only=True)
class Budget:
    """Bounds on a compressed model and on the search for it; None means no bound.

    `latency_us` bounds a call with `rows` rows on one thread, in microseconds; `bytes` the artifact's size; `loss` how
    far the mean loss may be above the original model's, in the task's unit. The search ends after `minutes`.

    Raises:
        ValueError: a bound that is not positive (`loss` may be 0), or `rows` below 1.

    >>> Budget(bytes=20_000, loss=0.005)
    Budget(latency_us=None, bytes=20000, loss=0.005, minutes=None, rows=1)
    >>> Budget(bytes=0)
    Traceback (most recent call last):
    ValueError: budget.bytes must be positive, got 0
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

    def __str__(self) -> str:
        """Return the bounds that are set, as in "bytes=20000, loss=0.005"."""
        return ", ".join(f"{name}={bound}" for name, bound in asdict(self).items() if bound is not None)


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One recipe tried on a `share` of the rows; `refused` is the reason if it failed.

    `loss` is the mean loss on the held-out rows minus the original model's, `error` the standard error of this
    difference. `engine` was the fastest, and `latency_us` is its time for a call in microseconds.
    """

    recipe: str
    share: float
    loss: float = math.inf
    error: float = 0.0
    bytes: int = 0
    latency_us: float = math.inf
    engine: str = ""
    refused: str = ""


class Search:
    """One search: `newest` has the last trial of each recipe, `plain` the measures of the original model."""

    def __init__(
        self,
        model: nn.Module,
        data: Data,
        losses: Losses,
        budget: Budget,
        engines: Sequence[Engine],
        seed: int,
        notes: Path | None,
    ) -> None:
        self._model, self._losses, self._budget, self._seed = model, losses, budget, seed
        self._notes, self._began_s, self._tried = _Notes(notes, _key(model, data, seed)), time.monotonic(), 0
        self._engines, self._timed = engines, dict[str, Timing]()
        self._learned, self._held_out = data.split(HELD_OUT)
        self.newest: dict[str, Trial] = {}
        self.plain = self._once("", 1.0, self._plainly)

    def climb(self, recipes: list[Recipe], said: Said | None) -> None:
        """Try the recipes on the first rung, and the better ones on the next, up to all rows.

        Raises:
            OutOfTime: the budget's minutes are over.
        """
        sizes = [len(recipes)]
        for _ in RUNGS[1:]:
            sizes.append(max(1, math.ceil(sizes[-1] * KEPT)))
        work, done = sum(size * share for size, share in zip(sizes, RUNGS, strict=True)), 0.0
        for at, share in enumerate(RUNGS):
            trials: list[Trial] = []
            for recipe in recipes:
                trials.append(self._try(recipe, share))
                done += share
                self._tried += 1
                if said:
                    said(self._tried, sum(sizes), (time.monotonic() - self._began_s) * max(0.0, work / done - 1))
            recipes = self._better(trials)[: sizes[at + 1]] if share < 1 else []

    def _better(self, trials: list[Trial]) -> list[Recipe]:
        """Return the recipes that were not refused, the lowest loss first: those that fit the budget, else all."""
        sound = sorted((t for t in trials if not t.refused), key=lambda t: t.loss)
        fitting = [t for t in sound if fits(t, self._budget, loss=False)]
        return [Recipe.parse(t.recipe) for t in fitting or sound]

    def _try(self, recipe: Recipe, share: float) -> Trial:
        trial = self._once(str(recipe), share, lambda: self._measured(recipe, share))
        self.newest[trial.recipe] = trial
        return trial

    def _once(self, recipe: str, share: float, measure: Callable[[], Trial]) -> Trial:
        if (trial := self._notes.get(recipe, share)) is None:
            trial = measure()
            self._notes.put(trial)
        return trial

    def _plainly(self) -> Trial:
        timed = _time(copy.deepcopy(self._model).eval(), self._held_out.rows, self._budget.rows, ())
        size = bytes_of(self._model)
        return Trial(recipe="", share=1.0, loss=0.0, bytes=size, latency_us=timed.us, engine=timed.engine)

    def _measured(self, recipe: Recipe, share: float) -> Trial:
        minutes = self._budget.minutes
        if minutes is not None and time.monotonic() - self._began_s > 60 * minutes:
            raise OutOfTime
        size = len(self._learned)
        newest = self._learned.between(size - max(1, round(share * size)), size)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", EmptiedWarning)  # the loss shows it
                made = compress(self._model, recipe, newest, self._losses, held=self._held_out, seed=self._seed)
        except ValueError as wrong:
            return Trial(recipe=str(recipe), share=share, refused=str(wrong))
        timed = self._timing(made.model)
        return Trial(
            recipe=str(recipe),
            share=share,
            loss=made.loss_after - made.loss_before,
            error=made.loss_error,
            bytes=len(made.artifact),
            latency_us=timed.us,
            engine=timed.engine,
        )

    def _timing(self, model: nn.Module) -> Timing:
        """Time a model, once for all with the same layers: the same operations on other numbers take as long."""
        tensors = [(name, tuple(t.shape), t.dtype) for name, t in (*model.named_parameters(), *model.named_buffers())]
        layers = f"{tensors} {[type(layer) for layer in model.modules()]}"
        if layers not in self._timed:
            self._timed[layers] = _time(model, self._held_out.rows, self._budget.rows, self._engines)
        return self._timed[layers]


def _time(model: nn.Module, given: Rows, rows: int, engines: Sequence[Engine]) -> Timing:
    """Return the timing of the engine that is fastest on one thread for a call with `rows` rows."""
    samples, threads = given.batch(torch.arange(min(len(given), max(SAMPLES, rows)))), torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        timings = fastest(model, samples, (rows,), engines=engines, seconds=TIMED_S).timings
    finally:
        torch.set_num_threads(threads)
    return min(timings, key=lambda timing: timing.us)


def fits(trial: Trial, budget: Budget, *, loss: bool = True) -> bool:
    """Return whether a trial is within the budget; without `loss`, whatever its loss is."""
    bounds: list[tuple[Any, Any]] = [(trial.latency_us, budget.latency_us), (trial.bytes, budget.bytes)]
    bounds += [(trial.loss, budget.loss)] if loss else []
    return all(bound is None or value <= bound for value, bound in bounds)


class _Notes:
    """A file of trials, one JSON line each; `key` stands for the model, data and seed that they were made with."""

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
                continue  # the line is damaged, as by a crash while it was written; the trial is made again

    def get(self, recipe: str, share: float) -> Trial | None:
        return self._known.get((recipe, share))

    def put(self, trial: Trial) -> None:
        if self._path:
            with self._path.open("ab") as out:
                out.write(msgspec.json.encode({"key": self._key} | asdict(trial)) + b"\n")


def _key(model: nn.Module, data: Data, seed: int) -> str:
    hashed = sha256(str(seed).encode())
    for part in (*model.state_dict().values(), *data.rows.parts(), data.labels):
        hashed.update(_bytes(part))
    return hashed.hexdigest()[:16]


def _bytes(part: Any) -> Any:
    """Return the bytes of a tensor, or the text of a row of another kind."""
    if not isinstance(part, Tensor):
        return repr(part).encode()
    return part.detach().contiguous().view(torch.uint8).numpy().data if part.numel() else b""
