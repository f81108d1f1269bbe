"""Whether a model, rows and a task agree: checked once, before anything is computed, and said in words.

Owns these checks. Does not know recipes, or whether a recipe suits the model.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from compressors.answers import Run, checked, evaluating
from compressors.data import Data, Losses
from compressors.errors import Unsuited
from compressors.rows import Batch, Fixed, first_line, parameters_of

LOOKED_AT = 2**24  # numbers that are looked at together
REFUSALS = (
    ArithmeticError, AssertionError, AttributeError, LookupError, NotImplementedError, RuntimeError, TypeError,
    ValueError,
)  # fmt: skip


def suited(model: nn.Module, data: Data, held: Data | None) -> tuple[Data, Data | None]:
    """Return the rows with named inputs in the order of the model's forward.

    Refuse what cannot be read, inputs and labels of different lengths, NaN in them, and held-out rows of other shapes
    than the data's.

    Raises:
        Unsuited: says where.
    """
    parameters, read = parameters_of(model), [data, held]
    for i, (name, rows) in enumerate((("data", data), ("held", held))):
        if rows is not None:
            try:
                read[i] = Data(rows.rows.ordered(parameters), rows.labels)
            except Unsuited as wrong:
                raise Unsuited(f"{name}: {wrong}") from None
            _check_numbers(name, Data(rows.rows, rows.labels))
    if held is not None and not len(held):
        raise Unsuited("held has no rows: there is nothing to measure on; leave it out, or give some")
    if held is not None and (theirs := _kinds(held)) != (ours := _kinds(data)):
        raise Unsuited(f"held has inputs with rows of {theirs}, data of {ours}: they must be alike")
    return read[0] or data, read[1]


def check_task(model: nn.Module, data: Data, losses: Losses, who: str = "the model") -> None:
    """Refuse a model that does not take the rows, and outputs and labels that are not the task's.

    A task says what its own are, if it has `outputs`, its K, and `target(label)`.

    Raises:
        Unsuited: the model does not take the rows, or does not return a tensor (N, K).
        Exception: what the task's `target` raises for a label that is not one of its own.
    """
    if len(data):
        for count in (min(2, len(data)), 1):
            batch, _ = data.batch(torch.arange(count))
            checked(answer(model, batch, who), count, getattr(losses, "outputs", None), who)
    check_labels(losses, data.labels)


def check_labels(losses: Losses, labels: Tensor) -> None:
    """Refuse labels that are not the task's, if it has a `target`.

    Raises:
        Exception: what the task's `target` raises.
    """
    if (target := getattr(losses, "target", None)) is not None:
        for label in torch.unique(labels, dim=0).tolist() if len(labels) else ():
            target(label)


def answer(model: Run, batch: Batch, who: str = "the model") -> Any:
    """Return what a model returns for a batch, in eval mode and without gradients.

    Raises:
        Unsuited: it does not take the batch; says what it raised, and what it was given.
    """
    try:
        with evaluating(model):
            return model(*batch)
    except REFUSALS as wrong:
        count = "one row alone" if len(batch[0]) == 1 else "these inputs"
        raise Unsuited(f"{who} does not take {count}, rows of {_of(batch)}: {first_line(wrong)}") from wrong


def _check_numbers(name: str, data: Data) -> None:
    counts = [len(data.rows), len(data.labels)]
    if len(set(counts)) > 1:
        raise Unsuited(f"{name}: inputs and labels have different numbers of rows: {counts}")
    for i, t in enumerate(data.rows.tensors if isinstance(data.rows, Fixed) else ()):
        _check_finite(f"{name}: input {i}", t, lambda t: ~t.isnan(), "NaN")
    _check_finite(f"{name}: labels", data.labels, torch.isfinite, "not finite")


def _check_finite(name: str, t: Tensor, sound: Callable[[Tensor], Tensor], otherwise: str) -> None:
    if not (t.is_floating_point() and t.numel()):
        return
    each = max(1, LOOKED_AT // max(1, t.numel() // len(t)))
    rows = torch.cat([sound(part).reshape(len(part), -1).all(1) for part in torch.split(t, each)])
    if not bool(rows.all()):
        bad, first = int((~rows).sum()), int(rows.int().argmin())
        raise Unsuited(f"{name}: {bad} of {len(rows)} rows are {otherwise}, the first of them row {first}")


def _kinds(data: Data) -> str | None:
    return _of(data.rows.tensors) if isinstance(data.rows, Fixed) else None


def _of(batch: Batch) -> str:
    return ", ".join(f"({', '.join(map(str, t.shape[1:]))}) {t.dtype}" for t in batch)
