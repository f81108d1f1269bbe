"""Models in wrappers: the model inside, whose names are those that its own class gives.

Owns which wrappers are taken off, and a copy that is safe to train: no wrapper, and no graph of an earlier forward.
Does not know what the copy is for.
"""

import copy

from torch import nn

from compressors.pruning.hooks import tensors

WRAPPERS = {  # by class name: some are only known once a program has used them
    "DataParallel": "module",
    "DistributedDataParallel": "module",
    "FullyShardedDataParallel": "module",
    "AveragedModel": "module",  # the average, of torch.optim.swa_utils
    "OptimizedModule": "_orig_mod",  # of torch.compile
}


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the model inside its wrappers; wrapped parts of it are replaced by what is inside them, in place.

    >>> import torch
    >>> unwrapped(torch.nn.DataParallel(torch.nn.Linear(2, 1)))
    Linear(in_features=2, out_features=1, bias=True)
    """
    model = _inner(model)
    for module in list(model.modules()):
        for name, child in module.named_children():
            if (inner := _inner(child)) is not child:
                setattr(module, name, inner)
    return model


def _inner(model: nn.Module) -> nn.Module:
    kind = type(model)
    while (name := WRAPPERS.get(kind.__name__)) and kind.__module__.startswith("torch."):
        model = getattr(model, name)
        kind = type(model)
    return model


def copied(model: nn.Module) -> nn.Module:
    """Return a copy of a model without its wrappers. A tensor that an earlier forward left in it loses its graph."""
    model = _inner(model)
    left = (t for module in model.modules() for t in tensors(vars(module)) if t.grad_fn is not None)
    return unwrapped(copy.deepcopy(model, {id(t): t.detach().clone() for t in left}))
