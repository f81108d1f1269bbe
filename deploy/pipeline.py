"""What a user's pipeline.py says: the model, the task, how to read events, the recipe, the promotion policy.

Owns the contract between a user's file and the system, and loading that file. Does not know where anything runs.
"""

import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor, nn

from compressors.recipe import Recipe
from learners.gate import Promotion
from learners.online import Online
from learners.tasks import Binary, Task
from streams.errors import ConfigError
from streams.events import Outcome, Reader, Record, Request, json_outcome, json_request


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
    recipe: Recipe = field(default_factory=Recipe)
    online: Online = field(default_factory=Online)
    promotion: Promotion = field(default_factory=Promotion)
    history: Callable[[], Iterable[Labelled]] | None = None
    feed: Callable[[], Iterable[FeedEvent]] | None = None
    feed_ends_ms: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for part in ("model", "encode", "request", "outcome"):
            if not callable(getattr(self, part)):
                raise ConfigError(f"Pipeline.{part} must be callable, got {getattr(self, part)!r}")
        if not self.name.replace("-", "").replace("_", "").isalnum():
            raise ConfigError(f"Pipeline.name must be letters, digits, '-' or '_', got {self.name!r}")


def load(path: Path) -> Pipeline:
    """Import a pipeline.py and give its `pipeline`.

    Raises:
        ConfigError: there is no such file, it does not import (with the line at fault), or it holds no `pipeline`.
    """
    if not path.is_file():
        raise ConfigError(f"no such file: {path}")
    name = f"pipeline_{path.resolve().parent.name}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"not a Python file: {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except ConfigError:
        raise
    except Exception as wrong:
        frames = [f for f in traceback.extract_tb(wrong.__traceback__) if Path(f.filename).resolve() == path.resolve()]
        line = frames[-1].lineno if frames else getattr(wrong, "lineno", None)
        raise ConfigError(f"{path}:{line}: {type(wrong).__name__}: {wrong}") from wrong
    found = getattr(module, "pipeline", None)
    if not isinstance(found, Pipeline):
        have = "it is a " + type(found).__name__ if found is not None else "there is none"
        raise ConfigError(f"{path}: needs a module-level `pipeline = Pipeline(...)`; {have}")
    return found


__all__ = ["FeedEvent", "Labelled", "Pipeline", "Record", "load"]
