"""Learning online: a dense float teacher and the compressed shadow take each micro-batch, test first, then train.

Owns both networks and the live intercept: the state that commits rebuild. Does not know Redis, Kafka, optimizers or
files. Given the base state, the seed and the micro-batches, the bits are the same in the same environment.
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
from learners.online.batches import Encoder, Inputs, labels
from learners.online.intercept import Intercept
from learners.online.network import Network, under
from learners.online.settings import Online
from learners.tasks.task import Task
from streams.errors import ConfigError, NotFinite
from streams.events import Sample

T = TypeVar("T")


class Learner:
    """Teacher and shadow over one history of samples; `learned` counts the samples taken.

    `shapes` is what `compressors/pruning/shapes.py` records of the shadow where it has lost units: by `shrink`, or in
    the state that was loaded. It is empty before, and where the recipe removes none.
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
        self.shadow = Network(training_form(model, self._recipe) if masked else model, self._spec)
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
        self.teacher.load(under(state, "teacher"))
        self.shadow.load(under(state, "shadow"))
        self.intercept.value = tuple(state["intercept"].tolist())
        self.learned = int(state["learned"])
