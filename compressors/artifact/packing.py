"""Numbers as bytes: whole numbers in as few bits as they need, and sparse tensors without their zeros.

Owns the choice between dense and sparse, whichever is smaller, and the way back. Does not know layers or files.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

VIEWS = {torch.bfloat16: torch.int16}  # numpy has no bfloat16: its bits are taken as whole numbers


def pack(values: Tensor, bits: int | None = None) -> dict[str, Tensor]:
    """Return the numbers as `{"dense"}`, or as `{"where", "nonzero"}`: a bit for each number, and those that are not 0.

    With `bits` (2 to 8) the numbers are whole and symmetric, and take so many bits each.
    """
    flat = values.contiguous().view(VIEWS.get(values.dtype, values.dtype)).numpy().ravel()
    where, nonzero = np.packbits(flat != 0), flat[flat != 0]
    dense, sparse = _shorten(flat, bits), _shorten(nonzero, bits)
    if where.nbytes + sparse.nbytes >= dense.nbytes:
        return {"dense": torch.from_numpy(dense.copy())}
    return {"where": torch.from_numpy(where), "nonzero": torch.from_numpy(sparse.copy())}


def unpack(parts: Mapping[str, Tensor], shape: torch.Size, dtype: torch.dtype, bits: int | None = None) -> Tensor:
    """Return the tensor that `pack` packed; `dtype` is its type.

    Raises:
        KeyError: a part is missing.
        ValueError: the parts do not fit the shape.
    """
    kind = torch.empty(0, dtype=VIEWS.get(dtype, dtype)).numpy().dtype
    size = shape.numel()
    if "dense" in parts:
        flat = _lengthen(parts["dense"].numpy(), size, bits)
    else:
        packed = parts["where"].numpy()
        if packed.size != -(-size // 8):
            raise ValueError(f"{packed.size} bytes say which of {size} numbers are not zero")
        flat = np.zeros(size, dtype=kind)
        where = np.unpackbits(packed, count=size).astype(bool)
        flat[where] = _lengthen(parts["nonzero"].numpy(), int(where.sum()), bits)
    if flat.size != size or flat.dtype != kind:
        raise ValueError(f"{flat.size} numbers of {flat.dtype}, expected {size} of {kind}")
    return torch.from_numpy(flat).view(dtype).reshape(shape)


def _shorten(whole: np.ndarray, bits: int | None) -> np.ndarray:
    """Return int8 numbers packed in `bits` bits each, two's complement, the highest bit first."""
    if bits is None or bits == 8:
        return whole
    each = np.unpackbits(whole.astype(np.int8).view(np.uint8)[:, None], axis=1)[:, 8 - bits :]
    return np.packbits(each)


def _lengthen(packed: np.ndarray, count: int, bits: int | None) -> np.ndarray:
    if bits is None or bits == 8:
        return packed
    if packed.size != -(-count * bits // 8):
        raise ValueError(f"{packed.size} bytes for {count} numbers of {bits} bits")
    each = np.unpackbits(packed, count=count * bits).reshape(count, bits)
    sign = np.repeat(each[:, :1], 8 - bits, axis=1)
    return np.packbits(np.concatenate([sign, each], axis=1), axis=1)[:, 0].view(np.int8)
