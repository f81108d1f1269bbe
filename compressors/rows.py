"""Rows of inputs, in two kinds: tensors that hold all rows, and rows that only a `collate` makes into a batch.

Owns how some of the rows become the model's tensors, and how much each row holds. Does not know labels, or how a
user's values become one of the two kinds. A batch is a tuple of tensors, the model's positional arguments, the first
dimension of each N.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor, nn

from compressors.errors import Unsuited

Batch: TypeAlias = tuple[Tensor, ...]
Collate: TypeAlias = Callable[[Sequence[Any]], Any]
ALONE = 4  # rows that are encoded alone to see whether a batch of few is narrower
MOST_WORDS = 200  # of a foreign message or name, in one of ours


class Rows(Protocol):
    """N rows of inputs."""

    def __len__(self) -> int:
        """Return N."""
        ...

    def batch(self, rows: Tensor | None = None) -> Batch:
        """Return the tensors of some rows, by their indices (n,), or of all; ragged ones are padded to the longest."""
        ...

    def at(self, rows: Tensor) -> "Rows":
        """Return some of the rows, by their indices (n,)."""
        ...

    def between(self, start: int, end: int) -> "Rows":
        """Return the rows from `start` to before `end`."""
        ...

    def ordered(self, parameters: Sequence[str]) -> "Rows":
        """Return the rows for a model whose forward has these parameters: inputs that have names come in their order.

        Raises:
            Unsuited: an input has another name.
        """
        ...

    def weights(self) -> list[int] | None:
        """Return how much each row holds, about, in a unit of its own; None if all hold the same."""
        ...

    def parts(self) -> Iterable[Any]:
        """Return the tensors, or whatever the rows are, in their order."""
        ...


@dataclass(frozen=True)
class Fixed:
    """Rows of one shape: tensors (N, ...), with a name each if they came with names.

    `source` are the same rows before they were encoded, where a few of them come out narrower than all together.
    """

    tensors: Batch
    names: tuple[str, ...] = ()
    source: "Collated | None" = None

    def __len__(self) -> int:
        return len(self.tensors[0])

    def batch(self, rows: Tensor | None = None) -> Batch:
        """Return copies of some rows, or all as they are."""
        return self.tensors if rows is None else tuple(t[rows] for t in self.tensors)

    def at(self, rows: Tensor) -> "Fixed":
        """Return copies of some of the rows."""
        return Fixed(self.batch(rows), source=self.source and self.source.at(rows))

    def between(self, start: int, end: int) -> "Fixed":
        """Return views of the rows from `start` to before `end`."""
        return Fixed(tuple(t[start:end] for t in self.tensors), source=self.source and self.source.between(start, end))

    def ordered(self, parameters: Sequence[str]) -> "Fixed":
        """Put inputs that have names into the order of the parameters."""
        if not self.names:
            return self
        ordered = as_batch(dict(zip(self.names, self.tensors, strict=True)), len(self), "inputs", parameters)
        return replace(self, tensors=ordered, names=())

    def weights(self) -> list[int] | None:
        """All hold the same."""
        return None

    def parts(self) -> Iterable[Any]:
        """Return the tensors."""
        return self.tensors


@dataclass(frozen=True)
class Collated:
    """Rows of any kind and length; `collate(some of them)` returns their tensors, (n, ...) each.

    It is called anew for each batch, so that each is padded to its own longest row. `sizes` is how much each row holds,
    where that is known without a look into the rows.
    """

    rows: Sequence[Any]
    collate: Collate
    parameters: tuple[str, ...] = ()
    sizes: Sequence[int] | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, rows: Tensor | None = None) -> Batch:
        """Collate some rows.

        Raises:
            Unsuited: what `collate` returned is no batch of so many rows.
        """
        chosen = self.rows if rows is None else [self.rows[i] for i in rows.tolist()]
        return as_batch(self.collate(chosen), len(chosen), "collate", self.parameters)

    def at(self, rows: Tensor) -> "Collated":
        """Return some of the rows."""
        at = rows.tolist()
        return replace(self, rows=[self.rows[i] for i in at], sizes=self.sizes and [self.sizes[i] for i in at])

    def between(self, start: int, end: int) -> "Collated":
        """Return the rows from `start` to before `end`."""
        return replace(self, rows=self.rows[start:end], sizes=self.sizes and self.sizes[start:end])

    def ordered(self, parameters: Sequence[str]) -> "Collated":
        """Let `collate` return a dict, whose values come in the order of the parameters."""
        return replace(self, parameters=tuple(parameters))

    def weights(self) -> list[int] | None:
        """Return how much each row holds: numbers, characters or bytes."""
        return list(self.sizes or map(weight, self.rows))

    def parts(self) -> Iterable[Any]:
        """Return the rows."""
        return self.rows


def padded(rows: Sequence[Sequence[Tensor]]) -> Batch:
    """Return a batch of rows whose tensors differ in size: each is filled with zeros at the end of every dimension."""
    return tuple(map(_padded, zip(*rows, strict=True)))


def padded_by_name(rows: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Do the same for rows whose tensors have names."""
    return {name: _padded([row[name] for row in rows]) for name in rows[0]}


def _padded(tensors: Sequence[Tensor]) -> Tensor:
    longest = [max(sizes) for sizes in zip(*(t.shape for t in tensors), strict=True)]
    batch = tensors[0].new_zeros((len(tensors), *longest))
    for to, t in zip(batch, tensors, strict=True):
        to[tuple(slice(size) for size in t.shape)] = t
    return batch


def encoded(rows: Sequence[Any], collate: Collate, parameters: Sequence[str] = (), at_once: int = 1_024) -> Rows:
    """Return rows that were encoded once and for all if their parts come out in one shape, else rows to be collated.

    A part is as wide as its longest row; the rows are kept as `source` where a few of them come out narrower.
    """
    batches: list[Batch] = []
    for start in range(0, len(rows), at_once):
        part = rows[start : start + at_once]
        batches.append(as_batch(collate(part), len(part), "encode", parameters))
        if not alike(batches[0], batches[-1]):
            return Collated(rows, collate, tuple(parameters))
    made, first = joined(batches), Collated(rows[:at_once], collate, tuple(parameters))
    return made if alone_alike(first, made.tensors) else replace(made, source=replace(first, rows=rows))


def alone_alike(rows: Collated, made: Batch) -> bool:
    """Return whether the lightest of the rows, and some others, come out alone as they do among all."""
    order = torch.tensor(rows.weights()).argsort()
    some = order[torch.linspace(0, len(order) - 1, min(len(order), ALONE)).long()]
    return all(alike(made, rows.batch(row[None])) for row in some)


def joined(batches: Sequence[Batch]) -> Fixed:
    """Return the rows of batches that are alike."""
    return Fixed(batches[0] if len(batches) == 1 else tuple(torch.cat(column) for column in zip(*batches, strict=True)))


def alike(one: Batch, other: Batch) -> bool:
    """Return whether the rows of two batches have the same shapes and types."""
    return [(t.shape[1:], t.dtype) for t in one] == [(t.shape[1:], t.dtype) for t in other]


def as_batch(made: Any, count: int, who: str, parameters: Sequence[str] = ()) -> Batch:
    """Return what `who`, a user's function, made of `count` rows, as a batch.

    One tensor is a batch of one. The values of a dict come in the order of the parameters, those of the model's
    forward.

    Raises:
        Unsuited: it is something else; says what it is, and what would be right.
    """
    batch = (made,) if isinstance(made, Tensor) else made
    if isinstance(batch, Mapping) and batch:
        batch = _by_name(batch, parameters, who)
    wanted = f"{who} must give a tuple of tensors, the first dimension of each the number of rows"
    if not isinstance(batch, tuple | list) or not batch or not all(isinstance(t, Tensor) for t in batch):
        held = f" of {listed({type(t).__name__ for t in batch})}" if isinstance(batch, tuple | list) else ""
        raise Unsuited(f"{wanted}; it gave a {type(batch).__name__}{held}")
    for i, t in enumerate(batch):
        if t.dim() == 0 or len(t) != count:
            raise Unsuited(f"{wanted}; of {count} rows it made a tensor {i} of shape {tuple(t.shape)}")
    return tuple(batch)


def _by_name(batch: Mapping[str, Any], parameters: Sequence[str], who: str) -> tuple[Any, ...]:
    first = parameters[: len(batch)]
    if set(first) != set(batch):
        takes = f"forward takes {listed(parameters)}" if parameters else "forward's parameters have no names"
        raise Unsuited(
            f"{who} gave a dict of {listed(batch)}, but {takes}: the names must be the first of these; or give a tuple "
            "in forward's order"
        )
    return tuple(batch[name] for name in first)


def parameters_of(model: nn.Module) -> tuple[str, ...]:
    """Return the names of the positional parameters of a model's forward."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    try:
        taken = inspect.signature(model.forward).parameters.values()
    except (TypeError, ValueError):
        return ()
    return tuple(one.name for one in taken if one.kind in kinds)


def weight(row: Any) -> int:
    """Return how much a row holds: its numbers, characters or bytes, those of its parts added up."""
    if isinstance(row, Tensor):
        return row.numel()
    if isinstance(row, str | bytes | bytearray | memoryview):
        return len(row)
    if isinstance(row, Mapping):
        return sum(map(weight, row.values()))
    if isinstance(row, list | tuple | set | frozenset):
        return len(row) + sum(weight(one) for one in row if not isinstance(one, int | float))
    if names := getattr(row, "__struct_fields__", None) or getattr(row, "__dataclass_fields__", None):
        return sum(weight(getattr(row, name)) for name in names)
    return int(getattr(row, "size", 1)) if hasattr(row, "__array__") else 1


def listed(names: Iterable[object]) -> str:
    """Return names as one text that is short enough for a message."""
    text = ", ".join(map(str, names))
    return text if len(text) <= MOST_WORDS else f"{text[:MOST_WORDS]}…"


def first_line(wrong: BaseException) -> str:
    """Return an error's kind and the first line of its message, cut to what a message can hold."""
    return f"{type(wrong).__name__}: {str(wrong).partition(chr(10))[0]}"[:MOST_WORDS]
