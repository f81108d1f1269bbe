"""torch's private parts: every one that Shadowstream uses, and the versions of torch that were tested with them.

Private parts may change in any release, so importing this module with an untested version fails. Does not know what
they are used for.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from compressors.errors import UntestedTorch

TESTED, UNTESTED = (2, 13), (2, 14)  # the first tested version, the next untested one; as in pyproject.toml


def check(installed: str) -> None:
    """Refuse a version of torch whose private parts were not tested.

    Raises:
        UntestedTorch: names the version installed and those tested.
    """
    numbers = tuple(int(number) for number in re.findall(r"\d+", installed)[:2])
    if not TESTED <= numbers < UNTESTED:
        tested = f">={'.'.join(map(str, TESTED))},<{'.'.join(map(str, UNTESTED))}"
        raise UntestedTorch(f"torch {installed} was not tested with Shadowstream; install torch{tested}")


check(version("torch"))

from torch.nn.modules.batchnorm import _NormBase as Norm  # noqa: E402 an untested version may lack it
from torch.nn.modules.instancenorm import _InstanceNorm as InstanceNorm  # noqa: E402
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear  # noqa: E402
from torch.utils import _python_dispatch  # noqa: E402

__all__ = [
    "EXPORTER_LOGGER",
    "TO_PYTHON",
    "InstanceNorm",
    "NonDynamicallyQuantizableLinear",
    "Norm",
    "TorchDispatchMode",
    "dims_of_one",
]

TO_PYTHON = (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.equal.default)
"""The operators by which Python reads a tensor's number, as `.item()` and `if tensor:` do."""

EXPORTER_LOGGER = "torch.onnx._internal.exporter._registration"
"""The logger that names the packages whose operators the ONNX exporter misses."""


PLAINLY = torch._C._disabled_torch_function_impl
"""A tensor class's `__torch_function__`: its operations arrive in `__torch_dispatch__` alone."""


class TorchDispatchMode(_python_dispatch.TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees every operation; torch's compiler, which takes seconds and 70 MB to import, is not asked to look away."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False


Kind = TypeVar("Kind", bound=Tensor)


def without_numbers(kind: type[Kind], shape: torch.Size, dtype: torch.dtype, device: torch.device) -> Kind:
    """Return a tensor of a class that has a `__torch_dispatch__`, of this shape and type, but without memory."""
    return torch.Tensor._make_wrapper_subclass(kind, shape, dtype=dtype, device=device)


def int8_product(a: Tensor, b: Tensor) -> Tensor:
    """Return the product (N, O) in int32 of int8 matrices (N, I) and (I, O), both contiguous.

    If a dimension of size 1 has another stride than a contiguous matrix has, as after `.t()` even with `.contiguous()`,
    the result is uninitialized memory (torch 2.13, pytorch issue 195066).
    """
    return torch._int_mm(a, b)


def changes(t: Tensor) -> int:
    """Return how often the numbers of a tensor, or of one that shares them, were changed in place.

    What `adamw_` and torch's fused optimizers change is not counted (torch 2.13).
    """
    return t._version


def lerp_(means: list[Tensor], values: list[Tensor], share: float) -> None:
    """Move each mean the share `share` of the way to its value, in place, all in one operation."""
    torch._foreach_lerp_(means, values, share)


def norm(tensors: list[Tensor]) -> float:
    """Return the norm of all numbers of some tensors; 0 without one."""
    return float(torch.linalg.vector_norm(torch.stack(torch._foreach_norm(tensors)))) if tensors else 0.0


def adamw_(
    values: list[Tensor], slopes: list[Tensor], moments: tuple[list[Tensor], list[Tensor], list[Tensor]], *,
    rate: float, decay: float, betas: tuple[float, float], eps: float,
) -> None:  # fmt: skip
    """Take a step of AdamW with values of one type, in place; `moments` are the first, the second, and the steps.

    Of values that took as many steps, one tensor may count them.
    """
    firsts, seconds, steps = moments
    torch._foreach_add_(list({id(step): step for step in steps}.values()), 1)
    torch._fused_adamw_(
        values, slopes, firsts, seconds, [], steps, lr=rate, beta1=betas[0], beta2=betas[1], weight_decay=decay,
        eps=eps, amsgrad=False, maximize=False,
    )  # fmt: skip


def scale_(tensors: list[Tensor], factor: float) -> None:
    """Multiply tensors by a number, in place, all in one operation."""
    torch._foreach_mul_(tensors, factor)


def matrix_names(layer: nn.RNNBase) -> tuple[str, ...]:
    """Return the names of a recurrent layer's matrices."""
    return tuple(name for name in layer._flat_weights_names if name.startswith("weight"))


def dims_of_one(norm: InstanceNorm) -> int:
    """Return the number of dimensions of an instance norm's input without a batch."""
    return int(norm._get_no_batch_dim())  # type: ignore[no-untyped-call]


@contextmanager
def matrices_as(layer: nn.RNNBase, matrix: Callable[[str], Tensor]) -> Iterator[None]:
    """Let a recurrent layer compute with `matrix(name)` in place of each of its matrices until the block ends."""
    own, names = layer._flat_weights, set(matrix_names(layer))
    layer._flat_weights = [
        matrix(name) if name in names else weight for name, weight in zip(layer._flat_weights_names, own, strict=True)
    ]
    try:
        yield
    finally:
        layer._flat_weights = own


def is_batched(
    query: Tensor, key: Tensor, value: Tensor, padding: Tensor | None, mask: Tensor | None, heads: int
) -> bool:
    """Return whether the inputs of attention have a batch dimension.

    Raises:
        AssertionError: attention does not take these shapes; torch's own message says why.
    """
    return bool(F._mha_shape_check(query, key, value, padding, mask, heads))  # type: ignore[attr-defined]
