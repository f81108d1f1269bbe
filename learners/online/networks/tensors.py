"""A model's tensors by name, all that a forward may change: parameters and buffers, those that are not persistent too.

Owns reading and restoring them, bit for bit. Does not know learning. A tensor that has two names appears under one.
"""

from collections.abc import Collection, Iterator, Mapping

import torch
from torch import Tensor, nn

from compressors.scale import BUFFER
from streams.errors import ConfigError


def tensors(model: nn.Module, but: Collection[int] = ()) -> dict[str, Tensor]:
    """Return the tensors by name, without those whose `id` is in `but`, and without the scale of labels."""
    every = (*model.named_parameters(), *model.named_buffers())
    return {name: tensor.detach() for name, tensor in every if id(tensor) not in but and name != BUFFER}


def restore(model: nn.Module, saved: Mapping[str, Tensor], but: Collection[int] = ()) -> None:
    """Give the tensors that `tensors` returned back to a model, in place; a buffer may have another shape than before.

    Raises:
        ConfigError: another model's parameters.
    """
    for name, parameter in _apart(model.named_parameters(), but):
        if name not in saved or saved[name].shape != parameter.shape:
            found = tuple(saved[name].shape) if name in saved else "nothing"
            raise ConfigError(
                f"the state was made by another model than this one: it has {found} where this model has {name}, "
                f"{tuple(parameter.shape)}; put the old model back, or begin a new feed"
            )
        with torch.no_grad():
            parameter.copy_(saved[name])
    for path, module in model.named_modules():
        for name, buffer in module._buffers.items():
            if id(buffer) not in but:
                _restore(module, name, saved.get(f"{path}.{name}" if path else name))


def _restore(module: nn.Module, name: str, value: Tensor | None) -> None:
    now = module._buffers[name]
    if now is not None and value is not None and (now.shape, now.dtype) == (value.shape, value.dtype):
        now.copy_(value)
    elif now is None or value is not None:
        module._buffers[name] = None if value is None else value.clone()


def _apart(named: Iterator[tuple[str, nn.Parameter]], but: Collection[int]) -> Iterator[tuple[str, nn.Parameter]]:
    return ((name, parameter) for name, parameter in named if id(parameter) not in but)
