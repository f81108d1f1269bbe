"""The bytes of states: msgpack, with arrays, tensors and samples.

Owns these bytes, and the scale by which a task of a state measures. Does not know what a state means.
"""

from collections.abc import Sequence
from typing import Any, TypeVar, cast

import msgspec
import numpy as np
import torch
from msgspec import Struct
from torch import Tensor

from compressors.data import Scaled
from compressors.scale import Scale
from streams.events import Sample

S = TypeVar("S", bound=Struct)
SPARSE = 8  # an array of whole numbers is packed without its zeros, where so many times fewer are left


def pack(state: Struct) -> bytes:
    """Return a state's bytes (msgpack; numbers have 8 bytes, and arrays their own type)."""
    return _encoder.encode(state)


def unpack(data: bytes, of: type[S]) -> S:
    """Return the state that `pack` made the bytes of.

    Raises:
        msgspec.DecodeError: the bytes are no such state.
    """
    return msgspec.msgpack.decode(data, type=of, dec_hook=_decoded)


def pack_samples(samples: Sequence[Sample]) -> bytes:
    """Return samples as they are in commits: JSON."""
    return msgspec.json.encode(samples)


_samples = msgspec.json.Decoder(list[Sample])


def shortest(answers: Tensor) -> list[list[float]]:
    """Return answers (N, K) as numbers of no more digits than tell each from its neighbours in their own precision.

    Made a tensor of that again, they are the same bits; of float32 they take half as much text.

    >>> shortest(torch.tensor([[2.7108864784240723], [0.1]]))
    [[2.7108865], [0.1]]
    """
    if answers.dtype != torch.float32:
        return cast(list[list[float]], answers.tolist())
    return [[float(str(one)) for one in row] for row in answers.detach().numpy()]


def unpack_samples(data: bytes) -> list[Sample]:
    """Return the samples that `pack_samples` made the bytes of."""
    return _samples.decode(data)


def scale_of(task: object) -> Scale | None:
    """Return the scale by which a task measures; None if it has none."""
    return task.scale if isinstance(task, Scaled) else None


def scaled(task: Any, scale: Scale | None) -> Any:
    """Return a task that measures by a scale; the same one without."""
    return task if scale is None else task.at(scale)


class _Array(Struct, array_like=True):
    """An array; a sparse one by the places `at` of what is not zero."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes
    at: bytes | None = None


def _encoded(value: Any) -> Any:
    array = value.numpy() if isinstance(value, torch.Tensor) else value
    if not isinstance(array, np.ndarray):
        raise NotImplementedError(f"{type(value).__name__} has no place in a state")
    if array.dtype.kind == "i" and SPARSE * np.count_nonzero(array) < array.size:
        at = np.flatnonzero(array)
        return _Array(array.dtype.str, array.shape, array.flat[at].tobytes(), at.tobytes())
    return _Array(array.dtype.str, array.shape, array.tobytes())


def _decoded(kind: Any, told: Any) -> Any:
    one = msgspec.convert(told, _Array)
    values = np.frombuffer(one.data, one.dtype)
    if one.at is None:
        array = values.reshape(one.shape).copy()
    else:
        array = np.zeros(one.shape, one.dtype)
        array.flat[np.frombuffer(one.at, np.int64)] = values
    return torch.from_numpy(array) if kind is torch.Tensor else array


_encoder = msgspec.msgpack.Encoder(enc_hook=_encoded)
