"""What a user's pipeline.py says: the model, the task, how to read events, the recipe, the promotion policy.

Owns the contract between a user's file and the system, and loading that file. Does not know where anything runs.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor, nn

from compressors.recipe import Distill, Prune, PruneStructured, Quantize, Recipe
from deploy import feed as feeds
from learners.evaluation.gate import Promotion
from learners.online.learner import Online
from learners.tasks.task import Binary, Task
from streams.errors import ConfigError
from streams.events import (
    Event,
    Outcome,
    Reader,
    Record,
    Request,
    json_outcome,
    json_request,
    labelled,
    read_prediction,
)


class Labelled(NamedTuple):
    """One row of history: the features and their label."""

    features: Any
    label: float


class FeedEvent(NamedTuple):
    """One event of a recorded feed: published at `t_ms`, to the topic `requests` or `outcomes`."""

    t_ms: int
    topic: str
    key: bytes
    value: bytes


NO_ROWS = (
    "pipeline {!r}: prune_structured chooses units of a trained model by rows of history, and there is none; give "
    "history, or take the step out of the recipe"
)
RECIPE = Recipe(Prune(amount=0.8, scope="lamp"), Quantize("int8"), Distill())


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """One feed and its model. All but the first four parts have defaults that work.

    `features` is a type msgspec can decode (a `msgspec.Struct`); a request's JSON is decoded into it. `encode` turns a
    list of them (length N) into the model's positional inputs, tensors whose first dimension is N. `model` makes a
    fresh network that maps those inputs to outputs of shape (N, K), where K is the task's. `history` gives labelled
    rows to begin with; `feed` a recorded feed in order of time, for replays, and `feed_ends_ms` its last event's time,
    for the progress bar.
    """

    name: str
    model: Callable[[], nn.Module]
    features: type
    encode: Callable[[Sequence[Any]], tuple[Tensor, ...]]
    task: Task = field(default_factory=Binary)
    request: Reader[Request] = json_request
    outcome: Reader[Outcome] = json_outcome
    recipe: Recipe = RECIPE
    online: Online = field(default_factory=Online)
    promotion: Promotion = field(default_factory=Promotion)
    history: Callable[[], Iterable[Labelled]] | None = None
    feed: Callable[[], Iterable[FeedEvent]] | None = None
    feed_ends_ms: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        feeds.check(self, "model", "encode", "request", "outcome")
        if self.recipe.first(PruneStructured) and not self.history:
            raise ConfigError(NO_ROWS.format(self.name))
        if self.online.refresh_every and not (self.recipe.first(Prune) and self.history):
            raise ConfigError(
                f"pipeline {self.name!r}: online.refresh_every is {self.online.refresh_every}, but the shadow has no "
                "masks to refresh: they come from a prune step in the recipe, carried out on the history; give both, "
                "or leave refresh_every at 0"
            )

    def as_feed(self) -> feeds.Feed:
        """Give what the join needs: the server's predictions, and outcomes whose label suits the task."""
        return feeds.Feed(name=self.name, prediction=read_prediction, outcome=self._outcome)

    def _outcome(self, record: Record) -> Event:
        outcome = self.outcome(record)
        self.task.check(outcome.label)
        return labelled(outcome)


def load(path: Path) -> Pipeline:
    """Import a pipeline.py and give its `pipeline`.

    Raises:
        ConfigError: there is no such file, it does not import (with the line at fault), or it holds no `pipeline`.
    """
    return feeds.found(feeds.imported(path, "pipeline"), path, "pipeline", Pipeline)


__all__ = ["FeedEvent", "Labelled", "Pipeline", "Record", "load"]
