"""The artifact: one safetensors file with int8 weights, made from a training form and loaded into a model that serves.

Owns the format (version 1) and its checks. Does not know registries, training or who serves. Nothing is unpickled.
The metadata's one entry `shadowstream` is JSON; its first member `digest` is the SHA-256 of the whole file with these
64 digits as zeros, so that no byte can change unseen. It guards against accidents, not against a forger.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as read_tensors
from safetensors.torch import save as write_tensors
from torch import Tensor, nn

from compressors.form import ShadowLinear, layers, left, replace_linears
from compressors.int8 import Int8Linear
from compressors.packing import pack_whole, unpack_whole
from compressors.quantize import quantize_rows

FORMAT = 1
_BLANK = "0" * 64


class ArtifactError(ValueError):
    """These bytes are not an artifact that this version, or this model, can run; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Description:
    """What an artifact says of itself. `manifest` is what its maker gave; `layers` are the compressed ones' sparsities.

    `sparsity` is the share of zeros among compressed layers' weights, `sparsity_all` among all numbers; `left` names
    what stayed in float; `float_bytes` is the size of the same model in float.
    """

    digest: str
    bytes: int
    float_bytes: int
    sparsity: float
    sparsity_all: float
    layers: dict[str, float]
    left: tuple[str, ...]
    manifest: dict[str, Any]


def pack(form: nn.Module, manifest: Mapping[str, Any]) -> bytes:
    """Convert a training form to an artifact. Equal models and manifests give equal bytes.

    Raises:
        ValueError: not a training form, a number that is not finite, or a manifest that is not JSON.
    """
    found = layers(form)
    rest = dict(left(form))
    whole = {name: _whole(layer) for name, layer in found.items()}
    tensors = {f"left/{name}": t.contiguous().clone() for name, t in rest.items()}
    for name, layer in found.items():
        tensors |= {f"int8/{name}/{part}": t for part, t in pack_whole(whole[name][0]).items()}
        tensors[f"int8/{name}/scale"] = whole[name][1]
        if layer.bias is not None:
            tensors[f"int8/{name}/bias"] = layer.bias.detach().clone()
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise ValueError(f"{name} holds a number that is not finite: this model cannot be packed")
    head = {"digest": _BLANK, "format": FORMAT, "layers": {n: list(w.shape) for n, (w, _) in whole.items()}}
    head |= {"left": sorted(rest), "figures": _figures(found, whole, rest), "manifest": dict(manifest)}
    blank = write_tensors(tensors, {"shadowstream": json.dumps(head, allow_nan=False)})
    return blank.replace(_BLANK.encode(), sha256(blank).hexdigest().encode(), 1)


def load(data: bytes, factory: Callable[[], nn.Module]) -> nn.Module:
    """Make the model that runs the artifact: `factory()`, its Linear layers in int8, in eval mode, not trainable.

    Outputs are the same bits at each load. The global random generator is left as it was.

    Raises:
        ArtifactError: truncated, altered, of a newer format, or not of this factory's model.
    """
    head = _head(data)
    with torch.random.fork_rng(devices=[]):
        plain = factory()
    try:
        tensors = read_tensors(data)
        model = replace_linears(plain, lambda name, layer: _int8(name, layer, head["layers"], tensors))
        cut = len("left/")
        model.load_state_dict({name[cut:]: t for name, t in tensors.items() if name.startswith("left/")})
    except (SafetensorError, KeyError, RuntimeError) as wrong:
        raise ArtifactError(f"the artifact does not fit this model: {wrong}") from wrong
    return model.eval().requires_grad_(False)


def describe(data: bytes) -> Description:
    """Give an artifact's figures without making the model.

    Raises:
        ArtifactError: as `load`.
    """
    head = _head(data)
    return Description(
        digest=head["digest"], bytes=len(data), left=tuple(head["left"]), manifest=head["manifest"], **head["figures"]
    )


def _whole(layer: ShadowLinear) -> tuple[Tensor, Tensor]:
    whole, scale = quantize_rows(layer.weight.detach() * layer.mask, layer.levels)
    return whole.to(torch.int8), scale[:, 0].contiguous()


def _int8(name: str, plain: nn.Linear, shapes: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Int8Linear:
    shape = list(plain.weight.shape)
    if shapes.get(name) != shape:
        raise KeyError(f"layer {name!r} is {shape} in the model and {shapes.get(name, 'absent')} in the artifact")
    prefix = f"int8/{name}/"
    parts = {key.removeprefix(prefix): t for key, t in tensors.items() if key.startswith(prefix)}
    return Int8Linear(unpack_whole(parts, plain.weight.shape), parts["scale"], parts.get("bias"))


def _figures(
    found: Mapping[str, ShadowLinear], whole: Mapping[str, tuple[Tensor, Tensor]], rest: Mapping[str, Tensor]
) -> dict[str, Any]:
    zeros = {name: _zeros(w) for name, (w, _) in whole.items()}
    weights = sum(w.numel() for w, _ in whole.values())
    others = [*rest.values(), *(layer.bias for layer in found.values() if layer.bias is not None)]
    total = weights + sum(t.numel() for t in others)
    plain = [*others, *(layer.weight for layer in found.values())]
    return {
        "float_bytes": sum(t.numel() * t.element_size() for t in plain),
        "sparsity": sum(zeros.values()) / weights,
        "sparsity_all": (sum(zeros.values()) + sum(map(_zeros, others))) / total,
        "layers": {name: n / whole[name][0].numel() for name, n in zeros.items()},
    }


def _zeros(tensor: Tensor) -> int:
    return tensor.numel() - int(tensor.count_nonzero())


def _head(data: bytes) -> dict[str, Any]:
    """Check the bytes and read their JSON head: the format first, so that a newer one is called newer."""
    try:
        end = 8 + int.from_bytes(data[:8], "little")
        head: dict[str, Any] = json.loads(json.loads(data[8:end])["__metadata__"]["shadowstream"])
        form, digest = int(head["format"]), str(head["digest"])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as wrong:
        raise ArtifactError(f"not an artifact, or its head is damaged ({len(data)} bytes): {wrong!r}") from wrong
    if form > FORMAT:
        raise ArtifactError(f"artifact format {form} is newer than this version of Shadowstream reads ({FORMAT})")
    if sha256(data.replace(digest.encode(), _BLANK.encode(), 1)).hexdigest() != digest:
        raise ArtifactError(
            f"the artifact is truncated or altered: its {len(data)} bytes do not have the digest {digest}"
        )
    return head
