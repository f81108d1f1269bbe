"""A weight in int8 that is asked as the float one would be: its type, its shape, its numbers, its device.

Owns the tensor that a served layer has as its `weight`. Only the whole numbers and their scales are kept in memory; an
operation that reads the weight gets its float value, made for that moment. Does not know layers, or how they multiply.
"""

from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn

from compressors.internals import PLAINLY, without_numbers

FIXED = "a served weight is stored in int8 and does not change: compress the new weights and load their artifact"


class Int8Weight(Tensor):
    """A weight (O, I), or (I, O) if `turned`: `columns` (I, O) are its whole numbers, `scale` (1, O) is float32.

    Any operation that would change it raises a RuntimeError. `to`, `half` and `float` change what it says its type is,
    and the type of its float value; the whole numbers stay.
    """

    columns: Tensor
    scale: Tensor
    turned: bool

    @staticmethod
    def __new__(
        cls: type[Self], columns: Tensor, scale: Tensor, turned: bool = False, dtype: torch.dtype = torch.float32
    ) -> Self:
        """Return a tensor without numbers of its own."""
        shape = columns.shape if turned else columns.shape[::-1]
        made = without_numbers(cls, shape, dtype, columns.device)
        made.columns, made.scale, made.turned = columns, scale, turned
        return made

    def value(self) -> Tensor:
        """Return the weight in float, with the same bits as the artifact has."""
        value = self.columns.to(self.scale.dtype) * self.scale
        return (value if self.turned else value.t().contiguous()).to(self.dtype)

    def like(self, dtype: torch.dtype | None = None, device: torch.device | None = None) -> "Int8Weight":
        """Return the same weight, which may say that it is of another type, or lie elsewhere."""
        columns, scale = (t if device is None else t.to(device) for t in (self.columns, self.scale))
        return Int8Weight(columns, scale, self.turned, dtype or self.dtype)

    __torch_function__ = PLAINLY  # type: ignore[assignment]

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        """Run an operation on the float value; copies and changes of type stay in int8."""
        kwargs = kwargs or {}
        aten = torch.ops.aten
        own = args[0] if args else None
        if isinstance(own, Int8Weight):
            if func in (aten.detach.default, aten.alias.default, aten.clone.default):
                return own.like()
            kind = kwargs.get("dtype") or own.dtype
            if func is aten._to_copy.default and kind.is_floating_point:
                return own.like(kind, kwargs.get("device"))
        for argument, value in zip(func._schema.arguments, args, strict=False):
            written = argument.alias_info is not None and argument.alias_info.is_write
            if written and isinstance(value, Int8Weight):
                raise RuntimeError(FIXED)
        return func(*map(_plain, args), **{name: _plain(value) for name, value in kwargs.items()})

    def __tensor_flatten__(self) -> tuple[list[str], tuple[bool, torch.dtype]]:
        """Return the names of the inner tensors, and what else the weight is made of: torch's protocol."""
        return ["columns", "scale"], (self.turned, self.dtype)

    @classmethod
    def __tensor_unflatten__(
        cls, inner: Mapping[str, Tensor], rest: tuple[bool, torch.dtype], size: Any, stride: Any
    ) -> "Int8Weight":
        """Return the weight that was flattened: torch's protocol."""
        return cls(inner["columns"], inner["scale"], *rest)

    def __deepcopy__(self, memo: dict[int, Any]) -> "Int8Weight":
        return _again(self.columns.clone(), self.scale.clone(), self.turned, self.dtype, isinstance(self, nn.Parameter))

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _again, (self.columns, self.scale, self.turned, self.dtype, isinstance(self, nn.Parameter))

    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override]
        return f"{repr(self.value())[:-1]}, stored=int8)"

    def share_memory_(self) -> Self:
        """Move the whole numbers and scales to shared memory."""
        self.columns.share_memory_()  # type: ignore[no-untyped-call]
        self.scale.share_memory_()  # type: ignore[no-untyped-call]
        return self

    def is_shared(self) -> bool:
        """Return whether they are there."""
        return bool(self.columns.is_shared())  # type: ignore[no-untyped-call]

    def numpy(self, *, force: bool = False) -> Any:
        """Return the float value as an array."""
        return self.value().numpy(force=force)

    def tolist(self) -> Any:
        """Return the float value as nested lists."""
        return self.value().tolist()


def parameter(columns: Tensor, scale: Tensor, *, turned: bool = False) -> nn.Parameter:
    """Return such a weight as a parameter that does not learn."""
    return nn.Parameter(Int8Weight(columns, scale, turned), requires_grad=False)


def in_float(layer: nn.Module, state: dict[str, Any], prefix: str, keep_vars: bool) -> None:
    """Put the float values of a layer's weights into its state, unless the variables themselves are asked for."""
    for name, weight in layer.named_parameters(recurse=False):
        if isinstance(weight, Int8Weight) and not keep_vars:
            state[prefix + name] = weight.value()


def _again(columns: Tensor, scale: Tensor, turned: bool, dtype: torch.dtype, is_parameter: bool) -> Int8Weight:
    weight: Any = Int8Weight(columns, scale, turned, dtype)
    return nn.Parameter(weight, requires_grad=False) if is_parameter else weight  # type: ignore[return-value]


def _plain(nested: Any) -> Any:
    if isinstance(nested, Int8Weight):
        return nested.value()
    return type(nested)(map(_plain, nested)) if type(nested) in (list, tuple) else nested
