"""AdamW (Loshchilov & Hutter, arXiv 1711.05101): torch's own operation for all parameters at once.

Owns the moments. Does not know where the slopes come from. torch's optimizer around that operation costs a small model
as much again as the step itself, and a batch has 32 samples.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from compressors.internals import adamw_
from learners.online.settings import EPS

KINDS = ("exp_avg", "exp_avg_sq", "step")  # as in torch's optimizer: the moments, and how many steps they are of


class _Alike(NamedTuple):
    """Parameters of one type that have a slope: their places, and for each in turn its value and its moments."""

    places: list[int]
    values: list[Tensor]
    moments: tuple[list[Tensor], list[Tensor], list[Tensor]]


class AdamW:
    """Moves the parameters that have a slope; `decay` is the weight decay."""

    def __init__(self, parameters: Sequence[nn.Parameter], decay: float) -> None:
        self._parameters, self._decay = list(parameters), decay
        self._moments: dict[int, tuple[Tensor, ...]] = {}  # of the parameter at this place, in the order of KINDS
        self._places: list[int] | None = None  # which had a slope in the step before
        self._alike: list[_Alike] = []  # these

    @torch.no_grad()
    def step(self, rate: float, betas: tuple[float, float]) -> None:
        """Take a step with the slopes."""
        slopes = [parameter.grad for parameter in self._parameters]
        places = [i for i, slope in enumerate(slopes) if slope is not None]
        if places != self._places:
            self._places, self._alike = places, self._gather(places)
        for alike in self._alike:
            own = [slope for i in alike.places if (slope := slopes[i]) is not None]
            adamw_(alike.values, own, alike.moments, rate=rate, decay=self._decay, betas=betas, eps=EPS)

    def _gather(self, places: Sequence[int]) -> list[_Alike]:
        """Gather the parameters at these places by type. Those that took as many steps share the tensor that counts."""
        found: defaultdict[object, _Alike] = defaultdict(lambda: _Alike([], [], ([], [], [])))
        steps = dict[tuple[object, float], Tensor]()
        for i, (first, second, step) in self._moments.items():
            self._moments[i] = first, second, step.clone()  # one that has no slope now counts by itself
        for i in places:
            value = self._parameters[i]
            kind = value.device, value.dtype
            begun = self._moments.get(i) or (torch.zeros_like(value), torch.zeros_like(value), torch.zeros(()))
            self._moments[i] = *begun[:2], steps.setdefault((kind, float(begun[2])), begun[2])
            found[kind].places.append(i)
            found[kind].values.append(value)
            for one, moment in zip(found[kind].moments, self._moments[i], strict=True):
                one.append(moment)
        return list(found.values())

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
        self._places = None
