"""A user's values as rows and labels: tensors, numpy arrays, lists, one tensor, a dict, rows of any length.

Owns what is taken, what is converted, and the words in which the rest is refused. Does not know tasks.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from compressors.errors import Unsuited
from compressors.rows import Collate, Collated, Fixed, Rows, listed, padded, padded_by_name

WANTED = "inputs are a tensor (N, ...), or a tuple of the model's inputs, each a tensor (N, ...)"


def rows_of(inputs: Any, collate: Collate | None) -> Rows:
    """Return inputs as rows.

    Raises:
        Unsuited: says what is wrong with which input.
    """
    if isinstance(inputs, Fixed | Collated):
        return inputs
    if collate is not None:
        return Collated(inputs if isinstance(inputs, Sequence) else list(inputs), collate)
    names = tuple(map(str, inputs)) if isinstance(inputs, Mapping) else ()
    columns = [*inputs.values()] if isinstance(inputs, Mapping) else inputs
    columns = list(columns) if isinstance(columns, tuple | list) and (names or _many(columns)) else [columns]
    if not columns:
        raise Unsuited(f"{WANTED}; got none")
    read = [_column(name, column) for name, column in zip(names or map(str, range(len(columns))), columns, strict=True)]
    counts = [len(column) for column in read]
    if len(set(counts)) > 1:
        raise Unsuited(f"inputs have different numbers of rows: {listed(counts)}")
    if all(isinstance(column, Tensor) for column in read):
        return Fixed(tuple(column for column in read if isinstance(column, Tensor)), names)
    if names:
        return Collated([dict(zip(names, row, strict=True)) for row in zip(*read, strict=True)], padded_by_name)
    return Collated(list(zip(*read, strict=True)), padded)


def _many(columns: Sequence[Any]) -> bool:
    """Return whether it is several inputs, not one: a tuple, or a list of tensors (N, ...) with as many rows each."""
    if isinstance(columns, tuple):
        return True
    return len(columns) > 0 and all(_is_tall(c) for c in columns) and len({len(c) for c in columns}) == 1


def _is_tall(column: Any) -> bool:
    return isinstance(column, Tensor | np.ndarray) and column.ndim > 1


def _column(name: str, column: Any) -> Tensor | list[Tensor]:
    """Return one input: a tensor (N, ...), or a list of N tensors that differ in size."""
    if isinstance(column, Tensor) and column.is_nested:
        return _together(list(column.unbind()))
    if isinstance(column, list | tuple) and column and all(isinstance(row, Tensor | np.ndarray) for row in column):
        return _together([_tensor(f"input {name}", row) for row in column])
    if _is_ragged(column):
        return _together([_tensor(f"input {name}", row) for row in column])
    read = _tensor(f"input {name}", column)
    if read.dim() == 0:
        raise Unsuited(f"{WANTED}; input {name} is a single number")
    return read


def _is_ragged(column: Any) -> bool:
    """Return whether it is a list of lists that differ in length."""
    lists = isinstance(column, list | tuple) and column and all(isinstance(row, list) for row in column)
    return bool(lists) and len({len(row) for row in column}) > 1


def _together(rows: list[Tensor]) -> Tensor | list[Tensor]:
    held = next((t.dtype for t in rows if t.numel()), None)
    rows = [t if t.numel() else t.to(held) for t in rows]  # an empty list has no type of its own
    if len({(t.shape, t.dtype) for t in rows}) == 1:
        return torch.stack(rows)
    if len({(t.dim(), t.dtype) for t in rows}) > 1:
        kinds = listed(sorted({f"{t.dim()}-dimensional {t.dtype}" for t in rows}))
        raise Unsuited(f"rows may differ in length, not in their number of dimensions or their type: {kinds}")
    return rows


def labels_of(labels: Any) -> Tensor:
    """Return labels as a tensor (N,), or (N, T) of T numbers a row; one column (N, 1) is one label a row.

    Raises:
        Unsuited: they are of another shape, or no numbers.
    """
    read = _tensor("labels", labels)
    if read.dim() == 2 and read.shape[1] == 1:
        read = read[:, 0]
    if read.dim() not in (1, 2):
        raise Unsuited(
            f"labels are numbers (N,), or (N, T), a row of them for each row, got the shape {tuple(read.shape)}"
        )
    return read.float() if read.dtype == torch.bool else read.detach()


def _tensor(name: str, value: Any) -> Tensor:
    if isinstance(value, Tensor):
        if value.is_complex() or value.layout != torch.strided or value.is_meta:
            kind = "a meta tensor" if value.is_meta else f"{value.dtype}, {value.layout}"
            raise Unsuited(f"{name}: a dense tensor of real numbers is needed, got {kind}")
        return value
    wanted = "labels are numbers (N,)" if name == "labels" else f"{name} must be a tensor"
    listable = hasattr(value, "__array__") or hasattr(value, "__len__")
    if isinstance(value, str | bytes) or value is None or not listable:
        raise Unsuited(f"{wanted}, got {'None' if value is None else f'a {type(value).__name__}'}")
    try:
        array = np.asarray(value)
        array = np.array(array.tolist()) if array.dtype.kind == "O" else array  # as pandas keeps mixed columns
    except (ValueError, TypeError, RuntimeError):  # lists of different lengths
        raise Unsuited(f"{wanted}, got a {type(value).__name__} whose parts differ in length") from None
    if array.dtype.kind not in "biuf":
        kinds = sorted({type(one).__name__ for one in array.ravel()[:1_000].tolist()})
        raise Unsuited(f"{wanted}, got a {type(value).__name__} of {listed(kinds)}")
    if array.dtype.kind == "f" and array.dtype.itemsize > 4 and name != "labels":
        array = array.astype(np.float32)  # numpy's and Python's usual type, where the model computes in float32
    return torch.from_numpy(np.ascontiguousarray(array).astype(_KINDS.get(str(array.dtype), array.dtype), copy=False))


_KINDS: dict[str, Any] = {"uint16": np.int32, "uint32": np.int64, "uint64": np.int64, "float128": np.float64}
