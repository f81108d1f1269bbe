"""What is refused before anything is computed: a model, rows and a task that do not fit each other.

Owns these checks. Does not know recipes, or whether a recipe suits the model.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from compressors.data import Data, Losses
from compressors.distillation.distill import answers


def check_model(model: nn.Module) -> None:
    """Refuse parameters that are not float32, in which compression computes.

    Raises:
        ValueError: names one of them.
    """
    other = {n: p.dtype for n, p in model.named_parameters() if p.is_floating_point() and p.dtype != torch.float32}
    for name, dtype in other.items():
        raise ValueError(
            f"compression computes in float32, but {len(other)} of the model's parameters have another type, such as "
            f"{name}, which is {dtype}: pass model.float()"
        )


def check_rows(data: Data, held: Data | None) -> None:
    """Refuse inputs and labels of different lengths, NaN in them, or held-out rows of other shapes than the data's.

    Raises:
        ValueError: says where.
    """
    for name, rows in (("data", data), ("held", held)):
        if rows is None:
            continue
        counts = [len(t) for t in (*rows.inputs, rows.labels)]
        if len(set(counts)) > 1:
            raise ValueError(f"{name}: inputs and labels have different numbers of rows: {counts}")
        for i, t in enumerate(rows.inputs):
            _check_numbers(f"{name}: input {i}", t, lambda t: ~t.isnan(), "NaN")
        _check_numbers(f"{name}: labels", rows.labels, torch.isfinite, "not finite")
    if held is not None and (theirs := _kinds(held)) != (ours := _kinds(data)):
        raise ValueError(f"held has inputs with rows of {theirs}, data of {ours}: they must be alike")


def check_task(model: nn.Module, data: Data, losses: Losses) -> None:
    """Refuse outputs and labels that are not the task's, if the task has `outputs`, its K, and `check(label)`.

    Raises:
        ValueError: the model's outputs are not (N, K).
        Exception: what the task's `check` raises for a label that is not one of its own.
    """
    wanted, check = getattr(losses, "outputs", None), getattr(losses, "check", None)
    if wanted is not None and len(data.labels):
        shape = answers(model, data.at(torch.arange(1)).inputs).shape
        if shape != (1, wanted):
            raise ValueError(f"{losses} needs outputs (N, {wanted}), the model returns (N, {_listed(shape[1:])})")
    if check is not None:
        for label in set(data.labels.flatten().tolist()):
            check(label)


def _check_numbers(name: str, t: Tensor, sound: Callable[[Tensor], Tensor], otherwise: str) -> None:
    if not (t.is_floating_point() and len(t)):
        return
    rows = sound(t).reshape(len(t), -1).all(1)
    if not bool(rows.all()):
        bad, first = int((~rows).sum()), int(rows.int().argmin())
        raise ValueError(f"{name}: {bad} of {len(rows)} rows are {otherwise}, the first of them row {first}")


def _kinds(data: Data) -> str:
    return ", ".join(f"({_listed(t.shape[1:])}) {t.dtype}" for t in data.inputs)


def _listed(sizes: tuple[int, ...]) -> str:
    return ", ".join(map(str, sizes))
