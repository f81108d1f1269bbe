"""Shapes: how a pruned model's sizes differ from the plain one's, as JSON, and how a fresh model is given them.

Owns the record and its checks: it is read from a file that may be damaged or hostile. Does not know why sizes differ,
or files. A record is {module's name: {"sizes": {attribute: number}, "tensors": {name: [dimensions]}}}.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from compressors.pruning.cuts import cut_rule

SIZES = frozenset(
    {
        *("in_features", "out_features", "in_channels", "out_channels", "groups", "num_features", "normalized_shape"),
        *("nx", "nf", "num_attention_heads", "all_head_size", "n_heads", "dim", "num_heads", "split_size", "embed_dim"),
    }
)


def shapes(plain: nn.Module, pruned: nn.Module) -> dict[str, Any]:
    """Return the record of every module whose sizes are not those of the plain model.

    Raises:
        ValueError: the models' modules or tensors do not have the same names and types, or a size is larger.
    """
    known = dict(pruned.named_modules())
    if known.keys() != dict(plain.named_modules()).keys():
        raise ValueError("the plain and the pruned model do not have the same modules: their names differ")
    records = {name: _record(module, known[name]) for name, module in plain.named_modules()}
    records = {name: record for name, record in records.items() if record["sizes"] or record["tensors"]}
    _check(plain, records)
    return records


def reshape(fresh: nn.Module, record: Mapping[str, Any]) -> None:
    """Apply recorded shapes to a freshly made model, in place; reshaped tensors are zero until a state is loaded.

    Raises:
        ValueError: not a record, an unknown module, attribute or tensor, or a size below 1 or above the model's own;
            nothing has been changed.
    """
    _check(fresh, record)
    for name, entry in record.items():
        module = fresh.get_submodule(name)
        for attribute, size in entry["sizes"].items():
            setattr(module, attribute, (size,) if isinstance(getattr(module, attribute), tuple) else size)
        for tensor, dims in entry["tensors"].items():
            own = getattr(module, tensor)
            own.data = torch.zeros(dims, dtype=own.dtype, device=own.device)


def _record(plain: nn.Module, pruned: nn.Module) -> dict[str, Any]:
    if type(plain) is not type(pruned):
        raise ValueError(
            f"a module is a {type(plain).__name__} in the plain model, a {type(pruned).__name__} in the pruned"
        )
    sizes = {name: _size(pruned, name) for name in sorted(SIZES) if _size(plain, name) != _size(pruned, name)}
    ours, theirs = _own(plain), _own(pruned)
    if ours.keys() != theirs.keys():
        raise ValueError(f"a {type(plain).__name__} has other tensors: {sorted(ours.keys() ^ theirs.keys())}")
    tensors = {name: list(t.shape) for name, t in theirs.items() if t.shape != ours[name].shape}
    return {"sizes": sizes, "tensors": tensors}


def _own(module: nn.Module) -> dict[str, Tensor]:
    """Return the tensors of this module, without those of its submodules."""
    return dict(module.named_parameters(recurse=False)) | dict(module.named_buffers(recurse=False))


def _size(module: nn.Module, name: str) -> int | None:
    """Return a size attribute, None if there is none; the shape of a LayerNorm is one if it is a single number."""
    value = vars(module).get(name)
    value = value[0] if isinstance(value, tuple) and len(value) == 1 else value
    return value if type(value) is int else None


def _check(model: nn.Module, record: Any) -> None:
    _require(isinstance(record, Mapping), "shapes are an object of modules")
    modules = dict(model.named_modules())
    for name, entry in record.items():
        _require(name in modules, f"shapes name a module {name!r}, which this model does not have")
        parts = isinstance(entry, Mapping) and entry.keys() == {"sizes", "tensors"} and entry.values()
        _require(parts and all(isinstance(p, Mapping) for p in parts), f"shapes of {name!r} are not sizes and tensors")
        for attribute, size in entry["sizes"].items():
            known = _size(modules[name], attribute) if attribute in SIZES else None
            _require(known is not None, f"shapes give {name!r} a size {attribute!r}, which it does not have")
            _require(_fits(size, known), f"shapes give {name!r} {attribute} {size!r}, not 1 to {known}")
        for tensor, dims in entry["tensors"].items():
            own = _own(modules[name]).get(tensor)
            _require(own is not None, f"shapes give {name!r} a tensor {tensor!r}, which it does not have")
            _check_dims(f"{name}.{tensor}", dims, own)
        _require(_agree(modules[name], entry), f"shapes of {name!r} contradict each other: {entry}")


def _check_dims(name: str, dims: Any, own: Tensor | None) -> None:
    most = [] if own is None else list(own.shape)
    fits = isinstance(dims, list) and len(dims) == len(most) and all(map(_fits, dims, most))
    _require(fits, f"shapes give {name} dimensions {dims!r}, not some within {most}")


def _agree(module: nn.Module, entry: Mapping[str, Any]) -> bool:
    """Return whether all attributes and tensors that say how many units, or columns, there are say the same."""
    rule, own = cut_rule(module), _own(module)
    for names, dims in ((rule.unit_sizes, rule.units), (rule.column_sizes, rule.columns)) if rule else ():
        counts = {entry["sizes"].get(name, _size(module, name)) for name in names}
        counts |= {entry["tensors"].get(name, own[name].shape)[dim] for name, dim in dims if name in own}
        if len(counts) > 1:
            return False
    return True


def _fits(size: Any, most: int | None) -> bool:
    return type(size) is int and most is not None and 1 <= size <= most


def _require(holds: object, otherwise: str) -> None:
    if not holds:
        raise ValueError(otherwise)
