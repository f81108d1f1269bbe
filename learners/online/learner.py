"""Learning online: a dense float teacher and the compressed shadow answer each micro-batch, then train on it.

Owns both networks and the live intercept: the state that commits rebuild. Does not know Redis, Kafka, optimizers or
files. In one environment, the same state, seed and micro-batches always make the same bits.
"""

import copy
import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from compressors.checks import check_model
from compressors.data import Data
from compressors.form import training_form
from compressors.pruning.refresh import pattern, refreshed
from compressors.recipe import Prune, PruneStructured, Quantize, Recipe
from learners.online import units
from learners.online.batches import Encoder, labels
from learners.online.intercept import Intercept
from learners.online.network import Network, under
from learners.online.settings import Online
from learners.tasks.task import Task
from streams.errors import ConfigError, NotFinite
from streams.events import Sample

T = TypeVar("T")


class Learner:
    """Teacher, shadow and live intercept; `learned` counts the samples that they have taken.

    `shapes` is what `compressors/pruning/shapes.py` records of a shadow that has lost whole units. It is empty until
    `shrink`, or `load` of such a state, and for ever where the recipe removes no units.
    """

    def __init__(
        self, model: Callable[[], nn.Module], task: Task, encoder: Encoder, recipe: Recipe, spec: Online, seed: int
    ) -> None:
        torch.manual_seed(seed)
        self._task, self._encoder, self._recipe, self._spec, self._seed = task, encoder, recipe, spec, seed
        self.teacher = Network(model(), spec)
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

    def study(self, data: Data) -> None:
        """Train the teacher on history, in shuffled passes; its average and the shadow's weights start at the result.

        Raises:
            ValueError: the shadow has lost units already.
        """
        if self.shapes:
            raise ValueError("the shadow has lost units of a studied teacher: study comes before shrink and load")
        for _ in range(self._spec.history_passes):
            for chosen in torch.split(torch.randperm(len(data)), self._spec.history_batch):
                self.teacher.learn(*data.batch(chosen), self._task)
        self.teacher.settle()
        self.shadow.model.load_state_dict(self.teacher.model.state_dict(), strict=False)  # all but the masks

    def shrink(self, data: Data) -> None:
        """Make the shadow anew: the studied teacher without the units that the recipe removes, chosen by the rows.

        Raises:
            ConfigError: there are no units to remove; the message says why.
        """
        model = copy.deepcopy(self.teacher.model)
        self._begin(model, units.remove(model, self._recipe, data, self._task, self.teacher.mean, self._seed))

    def _begin(self, model: nn.Module, shapes: dict[str, Any]) -> None:
        """Make the shadow of a plain model with these shapes."""
        masked = self._recipe.first(Prune) or self._recipe.first(Quantize)
        self.shadow = Network(training_form(model, self._recipe) if masked else model, self._spec)
        self.shapes = shapes

    def learn(self, samples: Sequence[Sample]) -> Tensor:
        """Learn one micro-batch of N samples; return the shadow's answers (N, K) of before.

        After an error, whichever it is, the state is half changed: load another one.

        Raises:
            ConfigError: the recipe removes units, and the shadow still has them.
            NotFinite: a loss, a gradient or the intercept is not finite.
        """
        if self._recipe.first(PruneStructured) and not self.shapes:
            raise ConfigError(f"the recipe '{self._recipe}' removes units: shrink the shadow first, or load a state")
        torch.manual_seed(self._seed + self.learned)  # so that learning the same again draws the same (dropout)
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
        """Return whether `count` more samples reach a multiple of `refresh_every`: the history alone decides."""
        every = self._spec.refresh_every
        return every > 0 and (self.learned + count) // every > self.learned // every

    def batches(self, samples: Sequence[T]) -> list[Sequence[T]]:
        """Cut samples into micro-batches of at most `batch`, as equal in size as possible."""
        parts = -(-len(samples) // self._spec.batch)
        bounds = [round(i * len(samples) / parts) for i in range(parts + 1)] if parts else []
        return [samples[a:b] for a, b in pairwise(bounds)]

    def state(self) -> dict[str, Tensor]:
        """Return everything that learning goes on from, by name."""
        out = {f"teacher.{k}": v for k, v in self.teacher.state().items()}
        out |= {f"shadow.{k}": v for k, v in self.shadow.state().items()}
        out["intercept"] = torch.tensor(self.intercept.value, dtype=torch.float64)
        out["learned"] = torch.tensor(self.learned)
        return out | ({"shapes": units.pack(self._recipe, self.shapes)} if self.shapes else {})

    def load(self, state: dict[str, Tensor]) -> None:
        """Go on from a state that `state` returned.

        Raises:
            ConfigError: its shadow has other shapes than the recipe makes of this model.
        """
        shapes = units.unpack(self._recipe, state.get("shapes"))
        if shapes != self.shapes:
            self._begin(units.smaller(self.teacher.model, shapes), shapes)
        self.teacher.load(under(state, "teacher"))
        self.shadow.load(under(state, "shadow"))
        self.intercept.value = tuple(state["intercept"].tolist())
        self.learned = int(state["learned"])
