"""The head of an artifact: JSON in the file's metadata, bounded and checked before anything in it is believed.

Owns the head's form, its digest, and the comparison of shapes with a model's. Does not know how a weight is stored. The
digest is the SHA-256 of the whole file with these 64 digits as zeros, so no byte can change unnoticed. It protects
against accidents, not against a forger: what a forged head says may be wrong, but costs nothing to read.
"""

import json
import math
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct, field
from torch import Tensor, nn

from compressors import scale
from compressors.artifact.stored import Stored
from compressors.errors import ArtifactError

FORMAT = 5
READ = (2, 3, 4, FORMAT)  # the formats that can be read; 2 has no transposed weights and none of attention
UNSHARED, UNSCALED = 4, 3  # without tensors of several names, and without a scale: older versions read these
BLANK = "0" * 64
MOST_BYTES = 16 * 2**20  # of a head, which has some hundred bytes a weight
MOST_NUMBERS = 2**40  # of a weight
NAMED = 3  # in a message

Share = Annotated[float, Meta(ge=0, le=1)]
Count = Annotated[int, Meta(ge=0, le=2**53)]


class Figures(Struct, frozen=True, forbid_unknown_fields=True):
    """The size of the same model in float, and shares of zeros."""

    float_bytes: Count
    sparsity: Share
    sparsity_all: Share


class Head(Struct, frozen=True, kw_only=True):
    """What an artifact says of itself; `shapes` is the record of `compressors/pruning/shapes.py`.

    `same` has the other names of tensors in float, each with the name under which it is stored.
    """

    digest: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    format: int
    weights: dict[str, Stored]
    shapes: dict[str, Any]
    left: dict[str, str]
    figures: Figures
    manifest: dict[str, Any]
    scale: tuple[float, float] | None = None
    same: dict[str, str] = {}


class _File(Struct):
    metadata: dict[str, str] = field(name="__metadata__")  # what else the file's header has is skipped


class _Age(Struct):
    format: int
    digest: str


class _Tensor(Struct):
    shape: list[int] = []


def read(data: bytes) -> Head:
    """Return an artifact's head, checked: its format before its digest, so that a newer one is called newer.

    Raises:
        ArtifactError: it is damaged, larger than a head can be, of another format, or says what cannot be.
    """
    text = _text(data)
    try:
        age = msgspec.json.decode(text, type=_Age)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as wrong:
        raise _damaged(data, wrong) from wrong
    if age.format not in READ:
        than = "newer than" if age.format > FORMAT else "older than"
        raise ArtifactError(
            f"artifact format {age.format} is {than} the formats that this version of Shadowstream reads: {READ}"
        )
    if _digest(data, age.digest.encode()) != age.digest:
        raise ArtifactError(
            f"the artifact is truncated or altered: its {len(data)} bytes do not have the digest {age.digest}"
        )
    try:
        head = msgspec.json.decode(text, type=Head)
        _check(head)
    except (ValueError, RecursionError) as wrong:  # msgspec's errors are ValueErrors
        raise _damaged(data, wrong) from wrong
    return head


def members(data: bytes) -> dict[str, Any]:
    """Return the head of an artifact that was read before, as it is written."""
    kept: dict[str, Any] = json.loads(_text(data))
    return kept


def _digest(data: bytes, said: bytes) -> str:
    """Return the digest of an artifact with a blank where it says its own.

    The bytes are hashed where they are: a copy of a large artifact would stop the thread that serves.
    """
    at, view = data.find(said), memoryview(data)
    if at < 0:
        return sha256(data).hexdigest()
    hashed = sha256(view[:at])
    hashed.update(BLANK.encode())
    hashed.update(view[at + len(said) :])
    return hashed.hexdigest()


def _text(data: bytes) -> str:
    size = int.from_bytes(data[:8], "little")
    if size > MOST_BYTES:
        raise _damaged(data, f"its header would have {size:,} bytes, and at most {MOST_BYTES:,} are read")
    try:
        return msgspec.json.decode(data[8 : 8 + size], type=_File).metadata["shadowstream"]
    except (msgspec.DecodeError, KeyError, RecursionError, UnicodeError) as wrong:
        raise _damaged(data, wrong) from wrong


def _damaged(data: bytes, why: object) -> ArtifactError:
    said = f"{type(why).__name__}: {why}" if isinstance(why, Exception) else why
    return ArtifactError(f"not an artifact, or its head is damaged ({len(data)} bytes): {said}")


def _check(head: Head) -> None:
    for name, one in head.weights.items():
        if not all(0 <= size <= MOST_NUMBERS for size in one.shape) or math.prod(one.shape) > MOST_NUMBERS:
            raise ValueError(f"{name} would have the shape {one.shape}")
        one.spec()  # refuses numbers of a kind that is not known, and groups of fewer than two
        if not (0 <= one.sparsity <= 1 and 0 <= one.bytes <= 2**53 and one.inputs):
            raise ValueError(f"what is said of {name} cannot be: {one}")
    scale.read(head.scale)
    for name, stored in head.same.items():
        if stored in head.same or name in head.weights:
            raise ValueError(f"{name} cannot be another name of {stored}")


def check_model(head: Head, data: bytes, model: nn.Module) -> None:
    """Refuse an artifact whose tensors are not those of a model, by their names and shapes: nothing is unpacked.

    Raises:
        ArtifactError: names one, with both shapes.
    """
    ours = {name: tuple(t.shape) for name, t in model.state_dict().items() if isinstance(t, Tensor)}
    size = int.from_bytes(data[:8], "little")
    try:
        known = msgspec.json.decode(data[8 : 8 + size], type=dict[str, _Tensor])
    except msgspec.DecodeError as wrong:
        raise _damaged(data, wrong) from wrong
    theirs = {name.removeprefix("plain/"): tuple(one.shape) for name, one in known.items() if name.startswith("plain/")}
    for entry in head.weights.values():
        theirs |= dict.fromkeys(entry.inputs, tuple(entry.shape))
    theirs |= {name: theirs[stored] for name, stored in head.same.items()}
    _refuse("has no", theirs.keys() - ours.keys(), theirs)
    _refuse("has, and the artifact has not,", ours.keys() - theirs.keys(), ours)
    for name, shape in theirs.items():
        if shape != ours[name]:
            raise ArtifactError(f"its {name} is {list(shape)}, the model's {list(ours[name])}")


def _refuse(how: str, names: Iterable[str], shapes: Mapping[str, tuple[int, ...]]) -> None:
    some = sorted(names)
    if some:
        more = f" and {len(some) - NAMED} more" if len(some) > NAMED else ""
        listed = ", ".join(f"{name} {list(shapes[name])}" for name in some[:NAMED])
        raise ArtifactError(f"the model {how} {listed}{more}")
