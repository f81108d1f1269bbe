"""Whether a model answers otherwise while it trains: with dropout, by the statistics of its batch, or by its own code.

Owns this judgement, which is on the safe side: a model that cannot be judged counts as one that does. Does not know
learning.
"""

from types import CodeType, FunctionType

from torch import nn

from compressors.internals import Norm
from compressors.quantization.layers import Shadow
from compressors.scale import in_the_labels_unit

SAME = ("torch.nn.modules", "compressors.quantization")  # whose layers differ only as named below
WORDS = {"training", "dropout", "is_grad_enabled"}  # a function without them asks for no mode
DROPOUT = ("dropout", "p")  # where layers keep their dropout


def two_modes(model: nn.Module) -> bool:
    """Return whether some layer may answer otherwise in training mode than in eval mode."""
    return any(_differs(module) for module in model.modules())


def _differs(module: nn.Module) -> bool:
    if isinstance(module, Norm):
        return True
    if isinstance(module, Shadow) and module.spec is not None and module.spec.inputs == "static":
        return True
    if isinstance(module, nn.RReLU):
        return True
    if _drops(module):
        return True
    hooks = [hook for hook in module._forward_hooks.values() if hook is not in_the_labels_unit]
    hooks += module._forward_pre_hooks.values()
    own = type(module).__module__.startswith(SAME)
    return bool(hooks) or (not own and any(map(_asks, _functions(type(module)))))


def _drops(module: nn.Module) -> bool:
    return any(isinstance(p, int | float) and p > 0 for p in (vars(module).get(name) for name in DROPOUT))


def _functions(kind: type) -> list[CodeType]:
    ours = [base for base in kind.__mro__ if not base.__module__.startswith("torch.nn.modules")]
    return [f.__code__ for base in ours for f in vars(base).values() if isinstance(f, FunctionType)]


def _asks(code: CodeType) -> bool:
    inner = (constant for constant in code.co_consts if isinstance(constant, CodeType))
    return not WORDS.isdisjoint(code.co_names) or any(map(_asks, inner))
