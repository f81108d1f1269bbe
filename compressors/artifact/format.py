"""The artifact: one safetensors file with compressed weights, made from a training form and loaded to be served.

Owns the format (version 4): tensors, and a head that describes them (head.py), the entry `shadowstream` of the file's
metadata. Does not know registries, training, engines or who serves. Nothing is unpickled.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as read_tensors
from safetensors.torch import save as write_tensors
from torch import Tensor, nn

from compressors import scale as scales
from compressors.artifact.head import BLANK, FORMAT, UNSCALED, UNSHARED, Head, check_model, members, read
from compressors.artifact.manifest import as_read, origin
from compressors.artifact.stored import Stored, Whole, parts_of, stored, value_of, zeros
from compressors.errors import ArtifactError
from compressors.form import Weight, find, left, open_encoders, shadow, shadow_type, weights
from compressors.pruning.shapes import reshape
from compressors.quantization.int8 import with_kernels
from compressors.quantization.layers import Shadow, forget_ranges, mask_name
from compressors.scale import Scale
from compressors.wrappers import unwrapped


@dataclass(frozen=True, kw_only=True)
class Description:
    """What an artifact says of itself. `weights` are the compressed ones, `manifest` is what its maker added.

    `sparsity` is the share of zeros among the compressed weights, `sparsity_all` among all numbers; `left` has the
    modules that stayed in float, with the reason; `float_bytes` is the size in bytes of the same model in float.
    `scale` is the mean and spread of a regression's labels, if the model computes in units of the spread.
    """

    digest: str
    format: int
    bytes: int
    float_bytes: int
    sparsity: float
    sparsity_all: float
    weights: dict[str, Stored]
    left: dict[str, str]
    manifest: dict[str, Any]
    scale: Scale | None = None

    @property
    def emptied(self) -> tuple[str, ...]:
        """The weights that are all zero: such a layer returns its bias, whatever its input."""
        return tuple(name for name, one in self.weights.items() if one.sparsity == 1)


def pack(
    form: nn.Module,
    manifest: Mapping[str, Any],
    *,
    shapes: Mapping[str, Any] | None = None,
    float_bytes: int | None = None,
) -> bytes:
    """Return the artifact of a training form. Equal models and manifests have equal bytes.

    If whole units were removed, `shapes` is their record by `compressors/pruning/shapes.py`, `float_bytes` the size of
    the model before, and the form may be a plain model.

    Raises:
        ValueError: not a training form, a number that is not finite, or a manifest that is not JSON.
    """
    compressed = find(form) if shapes else weights(form)
    every, first = _rest(form), dict[int, str]()
    stored_as = {name: first.setdefault(id(t), name) for name, t in every.items()}
    same = {name: stored for name, stored in stored_as.items() if name != stored}
    rest = {name: t.detach().contiguous().clone() for name, t in every.items() if name not in same}
    tensors = {f"plain/{name}": t for name, t in rest.items()}
    entries = {}
    for name, weight in compressed.items():
        parts = parts_of(weight)
        tensors |= {f"weight/{name}/{part}": t for part, t in parts.items()}
        entries[name] = stored(form, weight, parts)
    learned = dict(form.named_parameters(remove_duplicate=False))
    buffers = {f"plain/{name}" for name in rest if name not in learned}
    for name, tensor in tensors.items():
        sound = torch.isfinite if name not in buffers else lambda t: ~t.isnan()  # a buffer may mask by infinity
        if tensor.is_floating_point() and not bool(sound(tensor).all()):
            raise ValueError(f"{name} has a number that is not finite: this model cannot be packed")
    carried = scales.of(form)
    head = {
        "digest": BLANK,
        "format": FORMAT if same else UNSHARED if carried else UNSCALED,
        "weights": {name: asdict(one) for name, one in entries.items()},
    }
    head |= {
        "shapes": dict(shapes or {}),
        "left": left(form),
        "figures": _figures(compressed, rest, entries, float_bytes),
    }
    head |= ({"scale": list(carried)} if carried else {}) | ({"same": same} if same else {})
    return _sealed(tensors, head, manifest)


def with_manifest(data: bytes, manifest: Mapping[str, Any]) -> bytes:
    """Return the artifact that `pack` would have made with another manifest; nothing is packed again.

    Raises:
        ArtifactError: as `load`.
        ValueError: the manifest is not JSON.
    """
    read(data)
    return _sealed(read_tensors(data), members(data), manifest)


def _sealed(tensors: dict[str, Tensor], head: Mapping[str, Any], manifest: Mapping[str, Any]) -> bytes:
    blank_head = {**head, "digest": BLANK, "manifest": as_read(manifest)}
    blank = write_tensors(tensors, {"shadowstream": json.dumps(blank_head, allow_nan=False)})
    return blank.replace(BLANK.encode(), sha256(blank).hexdigest().encode(), 1)


def load(data: bytes, factory: Callable[[], nn.Module]) -> nn.Module:
    """Return the model that runs an artifact: `factory()` with its layers as stored, in eval mode, not trainable.

    `factory` makes a model like the one that was compressed, of any weights. Every load answers with the same bits. The
    global random generator is left as it was.

    Raises:
        ArtifactError: the artifact is truncated, altered, of a format that this version does not read, or of another
            model than the factory's.

    >>> import torch
    >>> rows = Data((torch.eye(4),), torch.tensor([0.0, 0.0, 1.0, 1.0]))
    >>> small = compress(torch.nn.Linear(4, 1), "quantize(int8)", rows, Binary())
    >>> served = load_artifact(small.artifact, lambda: torch.nn.Linear(4, 1))
    >>> torch.equal(served(torch.eye(4)), small.model(torch.eye(4)))
    True
    """
    head = read(data)
    with torch.random.fork_rng(devices=[]):
        model = unwrapped(factory())
    try:
        reshape(model, head.shapes)
        _serve(model, head.weights)
        check_model(head, data, model)
        state, whole = _state(data, head)
        model.load_state_dict(state)
        model = with_kernels(model, {used: whole[name] for name in whole for used in head.weights[name].inputs})
        scales.put(model, scales.read(head.scale))
        forget_ranges(model)
    except (SafetensorError, KeyError, RuntimeError, ValueError, TypeError, AttributeError) as wrong:
        maker = origin(head.manifest)
        made = f"; it was made from {maker}" if maker else ""
        raise ArtifactError(f"the artifact does not fit this model: {wrong}{made}") from wrong
    return model.eval().requires_grad_(False)


def describe(data: bytes) -> Description:
    """Return what an artifact says of itself: sizes in bytes, shares of zeros, its weights, and its manifest.

    No model is made, and no tensor is unpacked.

    Raises:
        ArtifactError: the artifact is truncated, altered, or of a format that this version does not read.

    >>> import torch
    >>> rows = Data((torch.eye(4),), torch.tensor([0.0, 0.0, 1.0, 1.0]))
    >>> description = describe_artifact(compress(torch.nn.Linear(4, 1), "quantize(int8)", rows, Binary()).artifact)
    >>> description.weights["weight"].shape, description.weights["weight"].weights
    ((1, 4), 'int8')
    >>> description.manifest["factory"]
    'torch.nn.modules.linear:Linear'
    """
    head = read(data)
    return Description(
        digest=head.digest,
        format=head.format,
        bytes=len(data),
        weights=head.weights,
        left=head.left,
        manifest=head.manifest,
        scale=scales.read(head.scale),
        float_bytes=head.figures.float_bytes,
        sparsity=head.figures.sparsity,
        sparsity_all=head.figures.sparsity_all,
    )


def floats(data: bytes) -> dict[str, Tensor]:
    """Return the state of a plain model that answers as the artifact does, except that inputs are not rounded.

    Raises:
        ArtifactError: as `load`.
    """
    head = read(data)
    try:
        return _state(data, head)[0]
    except (SafetensorError, KeyError, ValueError) as wrong:
        raise ArtifactError(f"the artifact is not whole: {wrong}") from wrong


def _state(data: bytes, head: Head) -> tuple[dict[str, Tensor], dict[str, Whole]]:
    """Return all tensors in float, by their names in the model, and the weights that have whole numbers as these."""
    tensors = read_tensors(data)
    state = {name.removeprefix("plain/"): t for name, t in tensors.items() if name.startswith("plain/")}
    state |= {name: state[stored] for name, stored in head.same.items()}
    whole: dict[str, Whole] = {}
    for name, entry in head.weights.items():
        value, numbers = value_of(name, entry, tensors)
        state |= dict.fromkeys(entry.inputs, value)
        if numbers is not None:
            whole[name] = numbers
    return state, whole


def _rest(form: nn.Module) -> dict[str, Tensor]:
    """Return the state that is neither a compressed weight nor a mask, by name; a tensor may have several."""
    layers = {path: layer for path, layer in form.named_modules(remove_duplicate=False) if isinstance(layer, Shadow)}
    own = {n for layer in layers.values() for n in layer.weight_names()}
    own |= {mask_name(n) for n in own}

    def compressed(name: str) -> bool:
        path, _, last = name.rpartition(".")
        return path in layers and last in own

    return {name: t for name, t in form.state_dict(keep_vars=True).items() if not compressed(name)}


def _serve(model: nn.Module, entries: Mapping[str, Stored]) -> None:
    """Make the layers round their inputs as in training."""
    for entry in entries.values():
        for name, inputs in entry.inputs.items():
            layer = model.get_submodule(name.rpartition(".")[0])
            if shadow_type(layer):
                shadow(layer).begin(entry.spec(inputs), served=True)
    open_encoders(model)


def _figures(
    compressed: Mapping[str, Weight],
    rest: Mapping[str, Tensor],
    entries: Mapping[str, Stored],
    float_bytes: int | None,
) -> dict[str, Any]:
    counts = {name: weight.value.numel() for name, weight in compressed.items()}
    pruned = sum(entries[name].sparsity * n for name, n in counts.items())
    numbers, others = sum(counts.values()), sum(t.numel() for t in rest.values())
    size = sum(t.numel() * t.element_size() for t in (*rest.values(), *(w.value for w in compressed.values())))
    return {
        "float_bytes": float_bytes or size,
        "sparsity": pruned / max(1, numbers),
        "sparsity_all": (pruned + sum(map(zeros, rest.values()))) / (numbers + others),
    }
