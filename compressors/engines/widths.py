"""Widths: the sizes of a batch's dimensions beside the first, where they differ from batch to batch.

A batch of texts is as wide as its longest. Such a dimension is *open* in an exported model, and the model is proven on
batches of several widths and sizes, between the least and the most of them. Owns these batches. Does not know engines.
"""

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from compressors.errors import EngineError
from compressors.rows import Batch, Fixed, Rows

SIZES = (1, 2, 8, 64)  # rows of the batches of a proof, in turn

Open: TypeAlias = tuple[tuple[int, ...], ...]  # by input: which of its dimensions differ


class Width(NamedTuple):
    """What was proven of an input's dimension: its sizes from `least` to `most`."""

    input: int
    dimension: int
    least: int
    most: int


def as_asked(rows: Rows) -> Rows:
    """Return rows as a server encodes them, a few at a time."""
    return rows.source if isinstance(rows, Fixed) and rows.source is not None else rows


def batches(seen: Rows, fresh: Rows, most: int) -> list[Batch]:
    """Return up to `most` of the fresh rows in batches of several sizes; alone the lightest and heaviest of all rows.

    The others are in their order, so that short and long ones lie together, and are filled up as a server fills them.
    """
    alone = [rows.batch(torch.tensor([i])) for rows in (seen, fresh) for i in _ends(rows)]
    ends, cut, at = set(_ends(fresh)), list[list[int]](), 0
    rest = [i for i in range(len(fresh)) if i not in ends][: max(0, most - len(ends))]
    while at < len(rest):
        cut.append(rest[at : at + SIZES[len(cut) % len(SIZES)]])
        at += len(cut[-1])
    return alone + [fresh.batch(torch.tensor(part)) for part in cut]


def _ends(rows: Rows) -> list[int]:
    """Return the index of the lightest row and that of the heaviest."""
    if (weights := rows.weights()) is None or not weights:
        return list(range(len(rows)))[:1]
    found = torch.tensor(weights)
    return list(dict.fromkeys((int(found.argmin()), int(found.argmax()))))


def opened(made: Sequence[Batch]) -> Open:
    """Return which dimensions differ between batches.

    Raises:
        EngineError: the number of inputs, their types or their dimensions differ: a graph has one of each.
    """
    kinds = {tuple((str(t.dtype).removeprefix("torch."), t.dim()) for t in batch) for batch in made}
    if len(kinds) != 1:
        told = " and ".join(sorted(", ".join(f"{dim}-D {kind}" for kind, dim in one) for one in kinds)[:2])
        raise EngineError(f"its rows differ by more than their sizes: encode makes {told}")
    return tuple(
        tuple(d for d in range(1, ts[0].dim()) if len({t.shape[d] for t in ts}) > 1) for ts in zip(*made, strict=True)
    )


def widths(made: Sequence[Batch], open_: Open) -> tuple[Width, ...]:
    """Return the least and most of each open dimension in these batches."""
    found = []
    for i, dimensions in enumerate(open_):
        for d in dimensions:
            sizes = [batch[i].shape[d] for batch in made]
            found.append(Width(i, d, min(sizes), max(sizes)))
    return tuple(found)


def within(proven: Sequence[Width], batch: Sequence[Tensor]) -> bool:
    """Return whether a batch is no narrower and no wider than what was proven.

    >>> within([Width(0, 1, 2, 30)], [torch.zeros(64, 31)])
    False
    """
    return all(
        i < len(batch) and d < batch[i].dim() and least <= batch[i].shape[d] <= most for i, d, least, most in proven
    )


def example(rows: Rows, open_: Open) -> Batch:
    """Return two rows to trace a model with, the heaviest among them where a dimension is open.

    Open dimensions are at least 2 in it: one of 1 is taken as fixed by an export.
    """
    if not any(open_):
        return rows.between(0, 2).batch()
    heaviest = _ends(rows)[-1]
    made = list(rows.batch(torch.tensor([heaviest, 0 if heaviest else len(rows) - 1])))
    for i, dimensions in enumerate(open_):
        for d in dimensions:
            if made[i].shape[d] == 1:
                made[i] = torch.cat([made[i], made[i]], d)
    return tuple(made)
