"""Guard rails of two models' outputs to the same rows: finite, not constant, like each other.

Owns how outputs are compared. Does not know labels, or how models are run.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from compressors.data import Scaled
from learners.evaluation.guards.guard import GuardRails, at_most
from learners.evaluation.verdict import Guard
from learners.tasks.binary import Binary
from learners.tasks.classes import Classes
from learners.tasks.multilabel import MultiLabel
from learners.tasks.task import Task


def finite(outputs: Tensor) -> Guard:
    """Return whether outputs (N, K) are numbers, all of them."""
    broken = int((~torch.isfinite(outputs).all(dim=1)).sum())
    said = f"{broken} of {len(outputs)} outputs are not finite" if broken else "all outputs are finite"
    return Guard("finite", float(broken), 0.0, broken == 0, said)


def constant(task: Task, ours: Tensor, theirs: Tensor, target: Tensor, limit: float | None) -> Guard:
    """Return whether outputs (N, K) spread, by a share of others' spread to the same rows.

    An untrained version may spread by far too much: of its spread no more counts than 1 of logits, or the spread of the
    labels `target`, (N,) or (N, T), of numbers.

    >>> rows = torch.arange(6.0)[:, None]
    >>> constant(Binary(), 0.01 * rows, rows, rows[:, 0], 0.1).said
    'outputs spread 0.017 times as far as they should, at least 0.1'
    """
    own, usual = spread(ours), spread(theirs)
    if isinstance(task, Scaled):
        usual = min(usual, spread(target))
    elif isinstance(task, Binary | MultiLabel | Classes):
        usual = min(usual, 1.0)
    share = own / usual if usual > 0 else 1.0
    least = "" if limit is None else f", at least {limit:g}"
    said = f"outputs spread {share:.2g} times as far as they should{least}"
    return Guard("constant", share, limit, limit is None or share >= limit, said)


def spread(outputs: Tensor) -> float:
    """Return how far outputs (N, K) spread: the length of their standard deviations."""
    return float(outputs.double().std(dim=0, correction=0).norm())


def alike(task: Task, ours: Tensor, theirs: Tensor, rails: GuardRails) -> Iterator[Guard]:
    """Yield how far answers (N, K) are from others to the same rows: their distribution, and their decisions."""
    far, share = max(map(distance, ours.T, theirs.T), default=0.0), changed(task, ours, theirs)
    yield at_most("drift", far, rails.drift, f"the distribution of scores is {far:.2f} from the champion's")
    yield at_most("change", share, rails.change, f"{100 * share:.0f} % of decisions change", unit=100)


def distance(ours: Tensor, theirs: Tensor) -> float:
    """Return the largest difference of two samples' distribution functions (Kolmogorov–Smirnov), of (N,) and (M,).

    >>> distance(torch.tensor([0.0, 1.0]), torch.tensor([0.0, 2.0]))
    0.5
    """
    one, other = ours.double().sort().values, theirs.double().sort().values
    at = torch.cat([one, other])
    below = (torch.searchsorted(part, at, right=True) / len(part) for part in (one, other))
    return float((next(below) - next(below)).abs().max())


def changed(task: Task, ours: Tensor, theirs: Tensor) -> float:
    """Return the share of rows (N, K) that are decided otherwise.

    A decision is yes or no, or the likeliest class; where a task has none, an answer has changed that is off by more
    than the others' spread.
    """
    if isinstance(task, Binary | MultiLabel):
        other = (ours > 0) != (theirs > 0)
    elif isinstance(task, Classes):
        other = (ours.argmax(1) != theirs.argmax(1))[:, None]
    else:
        other = (ours - theirs).abs() > theirs.std(dim=0, correction=0)
    return float(other.any(dim=1).double().mean())
