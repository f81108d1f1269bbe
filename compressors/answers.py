"""The answers of models to many rows, in parts whose size is bounded in bytes: the one way in which they are computed.

Owns how many rows go through a model at once, and what an answer must be. Does not know what the answers are for, or
what a row means.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from compressors.errors import Unsuited
from compressors.internals import TorchDispatchMode
from compressors.rows import Batch, Fixed, Rows, listed

AT_ONCE_BYTES = 64 * 2**20  # of inputs and of what a model computes from them
MOST_ROWS = 8_192
FEW = 8  # rows that go through at once, whatever they cost
ALIVE = 3  # so many times the largest operation's inputs and outputs are in memory while it runs
UNSEEN = 16  # of a run without a torch operation: so many times the bytes of its inputs

Run: TypeAlias = Callable[..., Any]  # inputs to outputs (N, K): a model, or what runs the one that is its `model`


@contextmanager
def evaluating(*models: Run) -> Iterator[None]:
    """Put models in eval mode and turn gradients off until the block ends; the modes are restored."""
    modes = [(model, model.training) for model in models if isinstance(model, nn.Module)]
    for model, _ in modes:
        model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for model, training in modes:
            model.train(training)


def answers(model: Run, rows: Rows | Sequence[Tensor]) -> Tensor:
    """Return the outputs (N, K) of all rows, in their order, in eval mode and without gradients.

    Raises:
        Unsuited: what a model returns is not a tensor with a row for each row.
    """
    return answer_all([model], rows)[0]


def answer_all(models: Sequence[Run], rows: Rows | Sequence[Tensor]) -> list[Tensor]:
    """Return the outputs of several models; the parts in which they answer are the same rows.

    Raises:
        Unsuited: as `answers`.
    """
    given, order, outputs = as_rows(rows), list[Tensor](), [list[Tensor]() for _ in models]
    with evaluating(*models):
        for chosen, batch in parts(models, given):
            order.append(chosen)
            for model, made in zip(models, outputs, strict=True):
                made.append(checked(model(*batch), len(chosen)))
    if len(order) == 1 and isinstance(given, Fixed):
        return [made[0] for made in outputs]
    back = torch.cat(order).argsort()
    return [torch.cat(made)[back] for made in outputs]


def parts(models: Sequence[Run], rows: Rows) -> Iterator[tuple[Tensor, Batch]]:
    """Yield rows in parts, as their indices (n,) and their batch: the rows that hold most come first.

    The models must be in eval mode, and gradients off.
    """
    count, weights = len(rows), rows.weights()
    order = torch.arange(count)
    if weights is not None:
        order = torch.tensor(weights, dtype=torch.float64).argsort(descending=True, stable=True)
    if count <= FEW:
        yield order, rows.batch(order)
        return
    heaviest = 1 if weights is None else max(1, weights[int(order[0])])
    each, at = max(_cost(model, rows, order[:3], heaviest) for model in models), 0
    while at < count:
        share = 1.0 if weights is None else max(1, weights[int(order[at])]) / heaviest
        chosen = order[at : at + max(1, min(MOST_ROWS, int(AT_ONCE_BYTES / max(1.0, each * share))))]
        yield chosen, rows.batch(None if len(chosen) == count and weights is None else chosen)
        at += len(chosen)


def as_rows(rows: Rows | Sequence[Tensor]) -> Rows:
    """Return tensors (N, ...) as rows; rows as they are."""
    return Fixed(tuple(rows)) if isinstance(rows, tuple | list) else rows  # type: ignore[return-value]


# ── What an answer must be ──────────────────────────────────────────────────────────────────────────────────────────


def checked(output: Any, count: int, outputs: int | None = None, who: str = "the model") -> Tensor:
    """Return a model's answer for `count` rows, if it is a float tensor of as many: (N, K) if `outputs`, K, is known.

    Raises:
        Unsuited: says what it is, and what to return instead.
    """
    needed = f"a tensor (N, {outputs or '...'}) of floats, for N = {count} rows"
    if not isinstance(output, Tensor):
        raise Unsuited(f"{who} returns {_named(output)}, where forward must return {needed}{_way(output)}")
    shape = tuple(output.shape)
    if not output.is_floating_point() or shape[:1] != (count,) or (outputs is not None and shape != (count, outputs)):
        raise Unsuited(f"{who} returns {_shaped(output, count)}, where forward must return {needed}")
    return output


def _shaped(output: Tensor, count: int) -> str:
    first = "N" if output.shape[:1] == (count,) else None
    sizes = [first or str(output.shape[0]), *map(str, output.shape[1:])] if output.dim() else []
    shape = f"({', '.join(sizes)}{',' if len(sizes) == 1 else ''})"
    return shape if output.is_floating_point() else f"{output.dtype} {shape}"


def _named(output: Any) -> str:
    if isinstance(output, Mapping):
        return f"a {type(output).__name__} of {listed(output)}"
    if isinstance(output, tuple | list):
        return f"a {type(output).__name__} of {len(output)}"
    return "None" if output is None else f"a {type(output).__name__}{_fields(output)}"


def _fields(output: Any) -> str:
    names = getattr(output, "__dataclass_fields__", None)
    return f" of {listed(names)}" if names else ""


def _way(output: Any) -> str:
    if names := list(getattr(output, "__dataclass_fields__", ())) if not isinstance(output, Mapping) else ():
        return (
            f"; return output.{'logits' if 'logits' in names else names[0]} instead, or wrap the model in one that does"
        )
    if not isinstance(output, Mapping | tuple | list) or not output:
        return ""
    first = ("logits" if "logits" in output else next(iter(output))) if isinstance(output, Mapping) else 0
    return f"; return output[{first!r:.50}] instead, or wrap the model in one that does"


# ── What a row costs ────────────────────────────────────────────────────────────────────────────────────────────────

_known: WeakKeyDictionary[Run, dict[Any, tuple[int, float]]] = WeakKeyDictionary()  # by kind of row: its weight, bytes


def _cost(model: Run, rows: Rows, first: Tensor, weight: int) -> float:
    """Return the bytes that one more of the heaviest rows takes: known, or measured on the first three."""
    three = rows.batch(first) if isinstance(rows, Fixed) else None
    kind = _kind(three) if three else None
    known = _known.get(model, {}).get(kind) if _keeps(model) else None
    if known is None or known[0] < weight:
        three = three or rows.batch(first)
        seen = model if isinstance(model, nn.Module) else getattr(model, "model", model)
        known = weight, _bytes_a_row(seen, three) + sum(map(_size, three)) / len(first)
        with suppress(TypeError):  # what runs it cannot be remembered
            _known.setdefault(model, {})[kind] = known
    return known[1] * weight / known[0]


def _keeps(model: Run) -> bool:
    try:
        return model in _known
    except TypeError:
        return False


def _kind(batch: Batch) -> tuple[Any, ...]:
    return tuple((t.shape[1:], t.dtype) for t in batch)


def _bytes_a_row(model: Run, three: Batch) -> float:
    """Return what the costliest operation takes for one more row, measured with one row and with three."""
    one, all_three = (_operations(model, tuple(t[:n] for t in three)) for n in (1, 3))
    if not all_three:
        return UNSEEN * sum(map(_size, three)) / 3
    if len(one) != len(all_three):  # it computes otherwise with other rows
        return ALIVE * max(all_three) / 3
    return ALIVE * max((b - a) / 2 for a, b in zip(one, all_three, strict=True))


def _operations(model: Run, batch: Batch) -> list[int]:
    """Return the bytes of the inputs and outputs of each operation, in their order."""
    seen = _Sizes()
    with seen:
        model(*batch)
    return seen.bytes


class _Sizes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes: list[int] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        self.bytes.append(_held((args, made)))
        return made


def _held(value: Any) -> int:
    if isinstance(value, Tensor):
        return _size(value)
    return sum(map(_held, value)) if isinstance(value, tuple | list) else 0


def _size(t: Tensor) -> int:
    return t.numel() * t.element_size()
