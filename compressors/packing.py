"""Whole-number weights as bytes: dense, or a bit for each weight and the nonzero ones, whichever is smaller.

Owns that choice and its inverse. Does not know layers or files.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor


def pack_whole(whole: Tensor) -> dict[str, Tensor]:
    """Give `{"dense"}` or `{"bits", "nonzero"}` for an int8 tensor."""
    flat = whole.numpy().ravel()
    bits, nonzero = np.packbits(flat != 0), flat[flat != 0]
    if bits.nbytes + nonzero.nbytes >= flat.nbytes:
        return {"dense": whole.contiguous()}
    return {"bits": torch.from_numpy(bits), "nonzero": torch.from_numpy(nonzero)}


def unpack_whole(parts: Mapping[str, Tensor], shape: torch.Size) -> Tensor:
    """Undo `pack_whole`.

    Raises:
        KeyError: a part is missing.
    """
    if "dense" in parts:
        return parts["dense"].reshape(shape)
    flat = np.zeros(shape.numel(), dtype=np.int8)
    flat[np.unpackbits(parts["bits"].numpy(), count=flat.size).astype(bool)] = parts["nonzero"].numpy()
    return torch.from_numpy(flat).reshape(shape)
