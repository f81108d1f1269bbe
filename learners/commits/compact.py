"""A state's bytes as they are kept: each tensor says how.

    raw      its numbers
    bits     a bit a number, where all are 0 or 1: masks
    zstd     compressed (level 1), where at least half of the bytes are zero: moments of pruned weights, tables; and
             what is bytes, such as the queue of what waits
    frozen   the digest of its numbers, which are kept once for all states: it does not learn

After MAGIC come the header's length (8 bytes) and the header, JSON: each tensor in the order of names, of which all but
the frozen ones follow. Owns these bytes. Does not know learners, or where anything is kept. States of releases before
are safetensors: `unpack` reads them too.
"""

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Literal

import msgspec
import numpy as np
import safetensors.torch
import torch
import zstandard
from msgspec import Struct
from torch import Tensor

from streams.errors import CommitError

MAGIC = b"sstate1\n"  # no safetensors file begins so: there it would be the length of a header
SMALL, APART = 256, 4_096  # bytes; what has fewer is raw, and not kept apart: a file takes as much of a disk
SAMPLE = 64  # numbers; where these are not all 0 or 1, the others are not looked at
FAST = 1
NAMES = {
    str(kind).removeprefix("torch."): kind for kind in vars(torch).values() if isinstance(kind, torch.dtype)
}  # the types by name


How = Literal["raw", "bits", "zstd", "frozen"]


class _Kept(Struct, frozen=True, array_like=True):
    """One tensor; `size` is that of its bytes here, `digest` where its bytes are if they are not here."""

    name: str
    how: How
    kind: str
    shape: tuple[int, ...]
    size: int
    digest: str = ""


def pack(
    state: Mapping[str, Tensor], frozen: Collection[str] = (), keep: Callable[[bytes], str] | None = None
) -> bytes:
    """Return a state's bytes; equal states have equal ones, with one version of zstd.

    `keep` takes the bytes of each tensor that is `frozen`, and returns their digest.

    >>> data = pack({"mask": torch.tensor([1.0, 0.0]).repeat(400), "weight": torch.ones(2)})
    >>> len(data), unpack(data)["weight"]
    (200, tensor([1., 1.]))
    """
    return b"".join(pieces(state, frozen, keep))


def pieces(
    state: Mapping[str, Tensor], frozen: Collection[str] = (), keep: Callable[[bytes], str] | None = None
) -> list[bytes | memoryview]:
    """Return a state's bytes as `pack` does, in pieces, some of which are the tensors' own memory."""
    header, parts = list[_Kept](), list[bytes | memoryview]()
    for name in sorted(state):
        tensor = state[name].detach().contiguous()
        data = _bytes(tensor)
        how, digest = _how(tensor, data), ""
        if len(data) >= APART and keep is not None and name in frozen:
            how, data, digest = "frozen", b"", keep(bytes(data))
        if how == "zstd":
            data = zstandard.ZstdCompressor(FAST).compress(data)
        if how == "bits":
            data = np.packbits((tensor.reshape(-1) != 0).numpy()).data
        header.append(_Kept(name, how, _name(tensor), tuple(tensor.shape), len(data), digest))
        parts.append(data)
    head = msgspec.json.encode(header)
    return [MAGIC, len(head).to_bytes(8, "little"), head, *parts]


def unpack(data: bytes, find: Callable[[str], bytes] | None = None) -> dict[str, Tensor]:
    """Return the state that `pack` made the bytes of, or an older release; `find` returns the bytes of a digest.

    Raises:
        CommitError: the bytes are no state, or one of a newer release.
    """
    if data[: len(MAGIC) - 2] != MAGIC[:-2]:
        return safetensors.torch.load(data)
    if data[: len(MAGIC)] != MAGIC:
        raise CommitError("the state was written by a newer release: go on with that one")
    try:
        return dict(_unpacked(data, find))
    except (msgspec.DecodeError, zstandard.ZstdError, ValueError, KeyError, RuntimeError) as wrong:
        raise CommitError(f"not a state: {wrong}") from None


def _unpacked(data: bytes, find: Callable[[str], bytes] | None) -> Iterator[tuple[str, Tensor]]:
    at = len(MAGIC) + 8
    end = at + int.from_bytes(data[len(MAGIC) : at], "little")
    header, at = msgspec.json.decode(data[at:end], type=list[_Kept]), end
    for one in header:
        part, count = data[at : at + one.size], math.prod(one.shape)
        at += one.size
        if one.how == "frozen":
            if find is None:
                raise ValueError(f"{one.name} is kept elsewhere")
            part = find(one.digest)
        if one.how == "zstd":
            part = _inflated(part, count * NAMES[one.kind].itemsize)
        if one.how == "bits":
            bits = np.unpackbits(np.frombuffer(part, np.uint8), count=count)
            yield one.name, torch.from_numpy(bits).to(NAMES[one.kind]).reshape(one.shape)
        else:
            yield one.name, _tensor(part, NAMES[one.kind]).reshape(one.shape)
    if at != len(data):
        raise ValueError(f"{len(data):,} bytes, and the header tells of {at:,}")


def _bytes(tensor: Tensor) -> bytes | memoryview:
    return tensor.reshape(-1).view(torch.uint8).numpy().data if tensor.numel() else b""


def _how(tensor: Tensor, data: bytes | memoryview) -> How:
    """Return how a tensor that learns is kept."""
    if len(data) < SMALL:
        return "raw"
    some = int(np.count_nonzero(np.frombuffer(data, np.uint8)))
    if some and _is_bits(tensor):
        return "bits"
    return "zstd" if 2 * some <= len(data) or tensor.dtype == torch.uint8 else "raw"


def _name(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _tensor(data: bytes, kind: torch.dtype) -> Tensor:
    return torch.frombuffer(bytearray(data), dtype=kind) if data else torch.empty(0, dtype=kind)


def _is_bits(tensor: Tensor) -> bool:
    """Return whether all numbers are 0 or 1, and none is −0."""
    if tensor.is_complex():
        return False
    for numbers in (tensor.reshape(-1)[:SAMPLE], tensor):
        if not bool(((numbers == 0) | (numbers == 1)).all()):
            return False
    return not (tensor.is_floating_point() and bool(tensor.signbit().any()))


def _inflated(data: bytes, size: int) -> bytes:
    if zstandard.frame_content_size(data) != size:
        raise ValueError(f"a tensor of {size:,} bytes claims {zstandard.frame_content_size(data):,}")
    return zstandard.ZstdDecompressor().decompress(data)
