"""One network that learns from each micro-batch, with its optimizer and the average of its weights.

Owns one training step, and the state that the next one needs. Does not know samples, commits or that there are two
such networks. Methods: AdamW at a constant rate; the average θ̄ ← a θ̄ + (1 − a) θ, whose log loss on the flights is
0.499 where that of θ is 0.597.
"""

import copy
import math

import torch
from torch import Tensor, nn

from compressors.form import weights
from compressors.internals import lerp_
from compressors.pruning.refresh import dense_slopes, refresh
from learners.online.batches import Inputs
from learners.online.settings import Online
from learners.tasks.task import Task
from streams.errors import NotFinite


class Network:
    """One network: `model` learns, and `mean` has the average of its weights."""

    def __init__(self, model: nn.Module, spec: Online) -> None:
        self.model, self._spec = model, spec
        self.mean = copy.deepcopy(model).requires_grad_(False)
        self._weights: list[Tensor] = list(model.parameters())
        self._means: list[Tensor] = list(self.mean.parameters())
        self._optimizer = torch.optim.AdamW(
            self._weights, lr=spec.learning_rate, weight_decay=spec.weight_decay, fused=True
        )

    def learn(self, inputs: Inputs, target: Tensor, task: Task) -> Tensor:
        """Train on N rows; return the answers (N, K) of before.

        Raises:
            NotFinite: the loss or its gradient is not finite. The weights are as before; other state may not be.
        """
        self.model.train()
        output: Tensor = self.model(*inputs)
        self._optimizer.zero_grad(set_to_none=True)
        loss = task.losses(output, target).mean()
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self._weights, self._spec.clip, foreach=True)
        if not math.isfinite(float(loss.detach()) + float(norm)):
            raise NotFinite(f"the loss is {float(loss.detach()):g}, its gradient's norm {float(norm):g}")
        self._optimizer.step()
        with torch.no_grad():
            lerp_(self._means, [w.detach() for w in self._weights], 1 - self._spec.average)
        return output.detach()

    def slopes(self, inputs: Inputs, target: Tensor, task: Task) -> dict[str, Tensor]:
        """Return the slopes of the loss in a training form's weights by name, masked ones too; change nothing."""
        self.model.train()
        return dense_slopes(self.model, lambda: task.losses(self.model(*inputs), target).mean())

    def refresh(self, slopes: dict[str, Tensor], of: int) -> None:
        """Refresh the masks by the slopes. A weight that grows starts at zero, also in the average and the moments."""
        for name, grown in refresh(self.model, slopes, self._spec.refresh_share, of).items():
            ours, mean = weights(self.model)[name], weights(self.mean)[name]
            mean.mask.copy_(ours.mask)
            moments = [m for name, m in self._optimizer.state[ours.value].items() if name != "step"]
            for started in (mean.value, *moments):
                started.masked_fill_(grown, 0)

    def settle(self) -> None:
        """Let the average begin again, at the weights as they are."""
        self.mean.load_state_dict(self.model.state_dict())

    def state(self) -> dict[str, Tensor]:
        """Return weights, buffers, averages and the optimizer's moments, by name."""
        out = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        out |= {f"mean.{k}": v for k, v in self.mean.state_dict().items()}
        for i, moments in self._optimizer.state_dict()["state"].items():
            out |= {f"optimizer.{i}.{k}": v for k, v in moments.items()}
        return out

    def load(self, state: dict[str, Tensor]) -> None:
        """Go on from a state that `state` returned."""
        self.model.load_state_dict(under(state, "model"))
        self.mean.load_state_dict(under(state, "mean"))
        saved = self._optimizer.state_dict()
        moments: dict[int, dict[str, Tensor]] = {}
        for name, value in under(state, "optimizer").items():
            index, kind = name.split(".")
            moments.setdefault(int(index), {})[kind] = value.clone()
        self._optimizer.load_state_dict({"state": moments, "param_groups": saved["param_groups"]})


def under(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the part of a state whose names begin with `prefix` and a dot, without these."""
    cut = len(prefix) + 1
    return {k[cut:]: v for k, v in state.items() if k.startswith(prefix + ".")}
