"""What is refused of a model before anything is computed.

Owns these checks. Does not know recipes, rows or tasks (agreement.py).
"""

from functools import cache

import torch
from safetensors import SafetensorError
from safetensors.torch import load as read_tensors
from safetensors.torch import save as write_tensors
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils.prune import BasePruningMethod

from compressors.form import weights_of
from compressors.internals import InstanceNorm, Norm
from compressors.quantization.layers import Shadow

WAYS_OUT = {  # by the class of the hook
    "WeightNorm": "torch.nn.utils.remove_weight_norm(model.get_submodule({path!r}), {name!r})",
    "SpectralNorm": "torch.nn.utils.remove_spectral_norm(model.get_submodule({path!r}), {name!r})",
}
PRUNED = "torch.nn.utils.prune.remove(model.get_submodule({path!r}), {name!r})"


def check_model(model: nn.Module) -> None:
    """Refuse parameters that are not float32, in which compression computes, and what no file of tensors can hold.

    Raises:
        ValueError: names one parameter of another type or not yet made, one weight that a hook computes, one module
            whose layers cannot be changed or whose answers depend on the rows beside, or one part of the state that is
            no tensor, or of a kind that a file cannot hold.
    """
    _check_modules(model)
    _check_weights(model)
    _check_state(model)
    other = {n: p.dtype for n, p in model.named_parameters() if p.is_floating_point() and p.dtype != torch.float32}
    for name, dtype in other.items():
        raise ValueError(
            f"compression computes in float32, but {len(other)} of the model's parameters have another type, such as "
            f"{name}, which is {dtype}: pass model.float()"
        )


def check_learning(model: nn.Module) -> None:
    """Refuse parameters that cannot be trained.

    Raises:
        ValueError: names one.
    """
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and parameter.is_complex():
            raise ValueError(
                f"{name} is {parameter.dtype}, and what learns must be float32: keep torch.view_as_real of it as the "
                "parameter, and make it complex in forward; or set its requires_grad to False"
            )


def _check_modules(model: nn.Module) -> None:
    for path, module in model.named_modules():
        name = path or "the model"
        if isinstance(module, torch.jit.ScriptModule):
            raise ValueError(f"{name} is compiled by torch.jit, and its layers stand still: give what it was made of")
        if isinstance(module, Norm) and not isinstance(module, InstanceNorm) and module.running_mean is None:
            raise ValueError(
                f"{name}, a {type(module).__name__} with track_running_stats=False, answers a row by the rows that "
                "stand beside it, and requests are answered as they come: leave track_running_stats at True"
            )


def _check_weights(model: nn.Module) -> None:
    for path, module in model.named_modules():
        for name, parameter in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)):
            if is_lazy(parameter):
                raise ValueError(f"{_name(path, name)} has no shape yet: call the model once on a few rows")
        for hook in module._forward_pre_hooks.values():
            out = PRUNED if isinstance(hook, BasePruningMethod) else WAYS_OUT.get(type(hook).__name__)
            if out:
                name = str(getattr(hook, "name", None) or getattr(hook, "_tensor_name", "weight"))
                raise ValueError(
                    f"{_name(path, name)} is no parameter: a hook computes it at each call. Make one of it first: "
                    f"{out.format(path=path, name=name)}"
                )
        missing = [name for name in weights_of(module) if module._parameters.get(name) is None]
        if missing and not isinstance(module, Shadow):
            raise ValueError(
                f"{_name(path, missing[0])} is no parameter: it was deleted, or something computes it. A layer of this "
                "kind needs a plain nn.Parameter there; write a module of your own to compute one"
            )


def _check_state(model: nn.Module) -> None:
    for name, value in model.state_dict().items():
        if not isinstance(value, Tensor):
            raise ValueError(
                f"{name} of the model's state is a {type(value).__name__}, and an artifact holds tensors alone: make "
                "it a buffer"
            )
        if why := _unstorable(value.dtype, value.layout, value.device.type, value.is_quantized):
            raise ValueError(f"{name} cannot be stored in an artifact: {why}")


@cache
def _unstorable(dtype: torch.dtype, layout: torch.layout, device: str, is_quantized: bool) -> str | None:
    """Return why tensors of a kind cannot be stored, found by storing one; None if they can."""
    if is_quantized or layout is not torch.strided or device == "meta":
        kind = "quantized" if is_quantized else device if device == "meta" else str(layout).removeprefix("torch.")
        return f"it is a {kind} tensor; a plain one on the CPU can be"
    try:
        one = torch.ones(2).to(dtype)
        same = torch.equal(read_tensors(write_tensors({"one": one}))["one"], one)
        one.count_nonzero()
        torch.isfinite(one) if one.is_floating_point() else None
    except (KeyError, ValueError, RuntimeError, NotImplementedError, SafetensorError):
        same = False
    return None if same else f"it is {dtype}; float32, int64 or bool can be"


def _name(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
