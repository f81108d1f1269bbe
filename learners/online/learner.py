"""Learning online: a dense float teacher and the compressed shadow take each micro-batch, test first, then train.

Owns weights, optimizers, averages and the live intercept: the state that commits rebuild. Does not know Redis, Kafka
or files. Given the base state, the seed and the micro-batches, the bits are the same in the same environment.
Methods: AdamW at a constant rate; averages θ̄ ← a θ̄ + (1 − a) θ (measured on flights: 0.499 against 0.597 raw).
"""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from compressors.checks import check_model
from compressors.data import Data
from compressors.form import training_form, weights
from compressors.pruning.refresh import dense_slopes, pattern, refresh, refreshed
from compressors.recipe import Prune, PruneStructured, Quantize, Recipe
from learners.online import units
from learners.online.batches import Encoder, Inputs, labels
from learners.online.intercept import Intercept
from learners.tasks.task import Task
from streams.errors import ConfigError, NotFinite
from streams.events import Sample

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Online:
    """How both models follow the samples. `batch` bounds a micro-batch; `clip` bounds the gradient's norm.

    `replay`: how many of the newest samples a candidate is distilled on. Each time that another `refresh_every` samples
    are learned, the shadow's masks are refreshed: the share `refresh_share` of the weights that each layer keeps gives
    way to masked ones (RigL). 0: the masks stay as they are.
    """

    batch: int = 128
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    clip: float = 1.0
    average: float = 0.999
    intercept_rate: float = 0.01
    history_passes: int = 3
    history_batch: int = 256
    replay: int = 20_000
    refresh_every: int = 0
    refresh_share: float = 0.1

    def __post_init__(self) -> None:
        if self.batch < 1 or min(self.history_batch, self.replay) < 1 or self.history_passes < 0:
            raise ValueError("Online: batch, history_batch and replay must be at least 1, history_passes at least 0")
        if self.learning_rate <= 0 or self.clip <= 0 or not 0 <= self.average < 1:
            raise ValueError("Online: learning_rate and clip must be positive, average at least 0 and below 1")
        if self.refresh_every < 0 or not 0 < self.refresh_share <= 1:
            raise ValueError(
                "Online: refresh_every is a number of samples, at least 0 (the masks stay), and refresh_share that of "
                f"the kept weights, above 0 and at most 1; got {self.refresh_every} and {self.refresh_share}"
            )


class Student:
    """One network that learns, with its optimizer and the average of its weights."""

    def __init__(self, model: nn.Module, spec: Online) -> None:
        self.model, self._spec = model, spec
        self.mean = copy.deepcopy(model).requires_grad_(False)
        self._weights: list[Tensor] = list(model.parameters())
        self._means: list[Tensor] = list(self.mean.parameters())
        self._optimizer = torch.optim.AdamW(
            self._weights, lr=spec.learning_rate, weight_decay=spec.weight_decay, fused=True
        )

    def learn(self, inputs: Inputs, target: Tensor, task: Task) -> Tensor:
        """Answer (N, K) before training on the rows, then train on them.

        Raises:
            NotFinite: the loss or its gradient is not; the weights are as they were, other state may not be.
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
            torch._foreach_lerp_(self._means, [w.detach() for w in self._weights], 1 - self._spec.average)
        return output.detach()

    def slopes(self, inputs: Inputs, target: Tensor, task: Task) -> dict[str, Tensor]:
        """Give the loss's slopes in a training form's weights by name, masked ones too; changes nothing."""
        self.model.train()
        return dense_slopes(self.model, lambda: task.losses(self.model(*inputs), target).mean())

    def refresh(self, slopes: dict[str, Tensor], of: int) -> None:
        """Swap masks by the slopes; what grows starts as if new: at zero, in the average and the moments too."""
        for name, grown in refresh(self.model, slopes, self._spec.refresh_share, of).items():
            ours, mean = weights(self.model)[name], weights(self.mean)[name]
            mean.mask.copy_(ours.mask)
            moments = [m for name, m in self._optimizer.state[ours.value].items() if name != "step"]
            for started in (mean.value, *moments):
                started.masked_fill_(grown, 0)

    def settle(self) -> None:
        """Start the average afresh from the weights."""
        self.mean.load_state_dict(self.model.state_dict())

    def state(self) -> dict[str, Tensor]:
        """Weights, buffers, averages and moments, by name."""
        out = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        out |= {f"mean.{k}": v for k, v in self.mean.state_dict().items()}
        for i, moments in self._optimizer.state_dict()["state"].items():
            out |= {f"optimizer.{i}.{k}": v for k, v in moments.items()}
        return out

    def load(self, state: dict[str, Tensor]) -> None:
        """Take a state that `state` gave."""
        self.model.load_state_dict(_under(state, "model"))
        self.mean.load_state_dict(_under(state, "mean"))
        saved = self._optimizer.state_dict()
        moments: dict[int, dict[str, Tensor]] = {}
        for name, value in _under(state, "optimizer").items():
            index, kind = name.split(".")
            moments.setdefault(int(index), {})[kind] = value.clone()
        self._optimizer.load_state_dict({"state": moments, "param_groups": saved["param_groups"]})


class Learner:
    """Teacher and shadow over one history of samples; `learned` counts the samples taken.

    `shapes` is what `compressors.shapes` records of the shadow where it has lost units: by `shrink`, or in the state
    that was loaded. It is empty before, and where the recipe removes none.
    """

    def __init__(
        self, model: Callable[[], nn.Module], task: Task, encoder: Encoder, recipe: Recipe, spec: Online, seed: int
    ) -> None:
        torch.manual_seed(seed)
        self._task, self._encoder, self._recipe, self._spec, self._seed = task, encoder, recipe, spec, seed
        self.teacher = Student(model(), spec)
        check_model(self.teacher.model)
        self._begin(copy.deepcopy(self.teacher.model), {})
        self._pattern = pattern(recipe)
        if spec.refresh_every and not refreshed(self.shadow.model):
            raise ValueError(
                f"Online.refresh_every is {spec.refresh_every}, but the recipe '{recipe}' prunes no weight of this "
                "model that learns: there is no mask to refresh; add a prune step, or leave refresh_every at 0"
            )
        self.intercept = Intercept(task, spec.intercept_rate)
        self.learned = 0

    def study(self, inputs: Inputs, target: Tensor) -> None:
        """Train the teacher on history, in shuffled passes; its average and the shadow's weights start from there.

        Raises:
            ValueError: the shadow has lost units already.
        """
        if self.shapes:
            raise ValueError("the shadow has lost units of a studied teacher: study comes before shrink and load")
        for _ in range(self._spec.history_passes):
            order = torch.randperm(len(target))
            for chosen in torch.split(order, self._spec.history_batch):
                self.teacher.learn(tuple(t[chosen] for t in inputs), target[chosen], self._task)
        self.teacher.settle()
        self.shadow.model.load_state_dict(self.teacher.model.state_dict(), strict=False)  # all but the masks

    def shrink(self, data: Data) -> None:
        """Make the shadow anew: the studied teacher without the units that the recipe removes, chosen by the rows.

        Raises:
            ConfigError: there are none to remove; says why.
        """
        model = copy.deepcopy(self.teacher.model)
        self._begin(model, units.remove(model, self._recipe, data, self._task, self.teacher.mean, self._seed))

    def _begin(self, model: nn.Module, shapes: dict[str, Any]) -> None:
        """Make the shadow of a plain model that has these shapes."""
        masked = self._recipe.first(Prune) or self._recipe.first(Quantize)
        self.shadow = Student(training_form(model, self._recipe) if masked else model, self._spec)
        self.shapes = shapes

    def learn(self, samples: Sequence[Sample]) -> Tensor:
        """Take one micro-batch; returns the shadow's answers (N, K) before it trained on them.

        After an error, whatever it is, the state is good for nothing: load another.
        """
        if self._recipe.first(PruneStructured) and not self.shapes:
            raise ConfigError(f"the recipe '{self._recipe}' removes units: shrink the shadow first, or load a state")
        torch.manual_seed(self._seed + self.learned)  # whatever the model draws is a function of its place in history
        inputs, target = self._encoder.inputs(samples), labels(samples)
        self.teacher.learn(inputs, target, self._task)
        due = self._refresh_due(len(samples))
        slopes = self.shadow.slopes(inputs, target, self._task) if due else {}
        output = self.shadow.learn(inputs, target, self._task)
        if due:  # after the answer, which must not know the labels
            self.shadow.refresh(slopes, self._pattern)
        for sample in samples:
            self.intercept.follow(sample.prediction.output, sample.label)
        if not all(map(math.isfinite, self.intercept.value)):
            raise NotFinite(f"the intercept is {self.intercept.value}")
        self.learned += len(samples)
        return output

    def _refresh_due(self, count: int) -> bool:
        """Tell whether `count` more samples reach or pass a multiple of `refresh_every`: by the history alone."""
        every = self._spec.refresh_every
        return every > 0 and (self.learned + count) // every > self.learned // every

    def batches(self, samples: Sequence[T]) -> list[Sequence[T]]:
        """Cut what has come into micro-batches of at most `batch`, as equal as can be."""
        parts = -(-len(samples) // self._spec.batch)
        bounds = [round(i * len(samples) / parts) for i in range(parts + 1)] if parts else []
        return [samples[a:b] for a, b in pairwise(bounds)]

    def state(self) -> dict[str, Tensor]:
        """Everything that learning goes on from, by name."""
        out = {f"teacher.{k}": v for k, v in self.teacher.state().items()}
        out |= {f"shadow.{k}": v for k, v in self.shadow.state().items()}
        out["intercept"] = torch.tensor(self.intercept.value, dtype=torch.float64)
        out["learned"] = torch.tensor(self.learned)
        return out | ({"shapes": units.pack(self._recipe, self.shapes)} if self.shapes else {})

    def load(self, state: dict[str, Tensor]) -> None:
        """Take a state that `state` gave, and the shapes that its shadow has.

        Raises:
            ConfigError: these are not what the recipe makes, or not of this model.
        """
        shapes = units.unpack(self._recipe, state.get("shapes"))
        if shapes != self.shapes:
            self._begin(units.smaller(self.teacher.model, shapes), shapes)
        self.teacher.load(_under(state, "teacher"))
        self.shadow.load(_under(state, "shadow"))
        self.intercept.value = tuple(state["intercept"].tolist())
        self.learned = int(state["learned"])


def _under(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    cut = len(prefix) + 1
    return {k[cut:]: v for k, v in state.items() if k.startswith(prefix + ".")}
