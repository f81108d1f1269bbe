"""The choice of a recipe: many are tried, each measured on this machine, and one is picked with its reason.

Owns the choice, the Pareto front, and the usual recipes. Does not know how the search proceeds, or how results look.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from torch import nn

from compressors.advisor.search import Budget, Said, Search, Trial, fits
from compressors.data import Data, Losses
from compressors.engines.engine import ENGINES, Engine
from compressors.errors import OutOfTime
from compressors.recipe import Prune, PruneStructured, Quantize, Recipe, Retrain, Step


class Advice(NamedTuple):
    """What `advise` returns: `trials` has the last trial of each recipe, `pick` the one to take, `why` the reason.

    `pick` is None if no trial fits the budget. `front` has the trials that no other one beats in loss, bytes and
    latency at once. `complete` is False if the search was ended early. `plain` is the original model, run by torch.
    """

    trials: list[Trial]
    front: list[Trial]
    pick: Trial | None
    why: str
    complete: bool
    plain: Trial


def advise(
    model: nn.Module,
    data: Data,
    losses: Losses,
    budget: Budget,
    recipes: Sequence[Recipe],
    *,
    engines: Sequence[Engine] = ENGINES,
    seed: int = 0,
    notes: Path | None = None,
    said: Said | None = None,
) -> Advice:
    """Try recipes on `model`, measure each on this machine, and return the trials with the recipe to take.

    `model` maps inputs (N, ...) to outputs (N, K). `data` are rows, oldest first: every recipe learns on the older 90 %
    or a part of them, and is measured on the newest 10 %. `losses` is a task, such as `Binary()`. Each artifact is
    timed on the fastest of `engines` that agrees with it. Trials are kept in the file `notes`; a later call with the
    same model, data and seed does not repeat them. `said(done, trials, seconds_left)` is called after each trial.

    The search is successive halving (Jamieson & Talwalkar, arXiv 1502.07943): all recipes are tried on 1/27 of the
    rows, the better half on 1/9, and so on. Of the recipes that fit the budget and are within one standard error of the
    lowest loss, the fastest is picked. Ctrl-C, or the end of the budget's minutes, ends the search with the best so
    far.

    Raises:
        ValueError: no recipes, or fewer than two rows. A recipe that fails is no error: its trial has the reason.
        OSError: the notes cannot be read or written.

    >>> import torch
    >>> rows = Data((torch.eye(4).repeat(20, 1),), torch.tensor([0.0, 0.0, 1.0, 1.0]).repeat(20))
    >>> recipes = [Recipe.parse("quantize(int8)")]
    >>> advice = advise(torch.nn.Linear(4, 1), rows, Binary(), Budget(bytes=5_000), recipes, engines=())
    >>> advice.pick.recipe, advice.pick.engine
    ('quantize(int8)', 'torch')
    """
    if not recipes:
        raise ValueError("there are no recipes to try")
    search = Search(model, data, losses, budget, engines, seed, notes)
    complete = True
    try:
        search.climb(list(dict.fromkeys(recipes)), said)
    except (KeyboardInterrupt, OutOfTime):
        complete = False
    trials = list(search.newest.values())
    pick, why = choose(trials, budget)
    return Advice(trials, front(trials), pick, why, complete, search.plain)


def usual(training: Retrain) -> list[Recipe]:
    """Return the recipes that are worth a try on most models, trained by `training`.

    They combine sparsities, numbers of 4, 8, 16 and 32 bits, and the removal of half of the units; 8 and 16 bits are
    also tried without training.
    """
    smaller: list[Step] = [PruneStructured(amount=0.5), training]
    chains: list[list[Step]] = [[], smaller]
    chains += [[Prune(amount=0.5)], [Prune(amount=0.8)], [Prune(amount=0.9)], [Prune(pattern="2:4")]]
    chains += [[Prune(amount=0.8, scope="lamp")], [*smaller, Prune(amount=0.6)]]
    quantizes = [None, Quantize("int8"), Quantize("int4", group=32), Quantize("bfloat16")]
    whole = [[*chain, *([q] if q else [])] for chain in chains for q in quantizes]
    trained = [Recipe(*chain) if chain == smaller else Recipe(*chain, training) for chain in whole if chain]
    return [Recipe(Quantize("int8")), Recipe(Quantize("bfloat16")), *trained]


def choose(trials: Sequence[Trial], budget: Budget) -> tuple[Trial | None, str]:
    """Return the trial to take, and the reason: the fastest of those that fit and are near the lowest loss.

    Near is within one standard error. The trial is None if none fits.
    """
    sound = [t for t in trials if not t.refused]
    fitting = [t for t in sound if fits(t, budget)]
    if not trials:
        return None, "the search ended before a recipe was tried"
    if not fitting:
        return None, _nearest(sound, budget)
    share = max(t.share for t in fitting)
    final = [t for t in fitting if t.share == share]
    best = min(final, key=lambda t: t.loss)
    close = [t for t in final if t.loss <= best.loss + best.error]
    pick = min(close, key=lambda t: (t.latency_us, t.bytes))
    counts = f"recipes that fit the budget: {len(fitting)}; within one standard error of the lowest loss"
    return pick, f"{counts} ({best.loss:+.4f} ± {best.error:.4f}): {len(close)}; this one is the fastest of them"


def front(trials: Iterable[Trial]) -> list[Trial]:
    """Return the trials that no other one beats in loss, bytes and latency at once, the lowest loss first."""
    sound = sorted((t for t in trials if not t.refused), key=lambda t: (t.loss, t.latency_us, t.bytes))
    return [t for t in sound if not any(_beats(other, t) for other in sound)]


def _nearest(sound: Sequence[Trial], budget: Budget) -> str:
    if not sound:
        return "no recipe could be carried out on this model; the trials say why"
    smallest, fastest_us = min(t.bytes for t in sound), min(t.latency_us for t in sound)
    return (
        f"no recipe fits the budget ({budget}): the smallest takes {smallest:,} bytes, the fastest {fastest_us:.0f} "
        f"µs, and the lowest loss is {min(t.loss for t in sound):+.4f}"
    )


def _beats(a: Trial, b: Trial) -> bool:
    ours, theirs = (a.loss, a.bytes, a.latency_us), (b.loss, b.bytes, b.latency_us)
    return ours != theirs and all(x <= y for x, y in zip(ours, theirs, strict=True))
