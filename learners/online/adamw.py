"""AdamW (Loshchilov & Hutter, arXiv 1711.05101): torch's own operation for all parameters at once.

Owns the moments. Does not know where the slopes come from. torch's optimizer around that operation costs a small model
as much again as the step itself, and a batch has 32 samples.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from compressors.internals import adamw_
from learners.online.settings import EPS

KINDS = ("exp_avg", "exp_avg_sq", "step")  # as in torch's optimizer: the moments, and how many steps they are of


class AdamW:
    """Moves the parameters that have a slope; `decay` is the weight decay."""

    def __init__(self, parameters: Sequence[nn.Parameter], decay: float) -> None:
        self._parameters, self._decay = list(parameters), decay
        self._moments: dict[int, tuple[Tensor, ...]] = {}  # of the parameter at this place, in the order of KINDS

    @torch.no_grad()
    def step(self, rate: float, betas: tuple[float, float]) -> None:
        """Take a step with the slopes."""
        alike: defaultdict[object, list[int]] = defaultdict(list)
        for i, parameter in enumerate(self._parameters):
            if parameter.grad is not None:
                alike[parameter.device, parameter.dtype].append(i)
                if i not in self._moments:
                    self._moments[i] = *(torch.zeros_like(parameter) for _ in range(2)), torch.zeros(())
        for places in alike.values():
            values = [self._parameters[i] for i in places]
            firsts, seconds, steps = map(list, zip(*[self._moments[i] for i in places], strict=True))
            slopes = [value.grad for value in values if value.grad is not None]
            adamw_(
                list(values), slopes, (firsts, seconds, steps), rate=rate, decay=self._decay, betas=betas, eps=EPS
            )  # fmt: skip

    def clear(self, parameter: nn.Parameter, grown: Tensor) -> None:
        """Let the moments of a parameter begin at zero, where `grown`."""
        at = next(i for i, own in enumerate(self._parameters) if own is parameter)
        for moment in self._moments.get(at, ())[:2]:
            moment.masked_fill_(grown, 0)

    def state(self) -> dict[str, Tensor]:
        """Return the moments, by the parameter's place and kind."""
        each = self._moments.items()
        return {f"{i}.{kind}": t for i, moments in each for kind, t in zip(KINDS, moments, strict=True)}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state` returned."""
        places = sorted({int(name.split(".")[0]) for name in state})
        self._moments = {i: tuple(state[f"{i}.{kind}"].clone() for kind in KINDS) for i in places}
