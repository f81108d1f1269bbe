"""What a user's feed.py says: how to read the two events of a join without a model; and loading such a file.

Owns the contract between a user's file and the join. Does not know where anything runs, nor what a model is: a
pipeline.py gives its own feed.
"""

import importlib.util
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Protocol, TypeVar, runtime_checkable

from deploy.config import Topics
from streams.errors import ConfigError
from streams.events import Event, Reader
from streams.join.batch import Readers

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Feed:
    """One feed to be joined: its name, and what makes an event of a record of its topics predictions and outcomes."""

    name: str
    prediction: Reader[Event]
    outcome: Reader[Event]

    def __post_init__(self) -> None:
        check(self, "prediction", "outcome")

    def readers(self, topics: Topics) -> Readers:
        """Give what a joiner reads with; `topics` are the feed's, named."""
        return Readers(
            predictions=topics.predictions,
            outcomes=topics.outcomes,
            dead_letters=topics.dead,
            prediction=self.prediction,
            outcome=self.outcome,
        )


@runtime_checkable
class Joinable(Protocol):
    """What can be joined though it is more than a feed: a pipeline."""

    def as_feed(self) -> Feed:
        """Give the feed in it."""
        ...


def check(what: object, *callables: str) -> None:
    """Make sure that the parts of a Feed or Pipeline can be called and that its name can be one in Kafka and Redis.

    Raises:
        ConfigError: which part, and what it is.
    """
    kind, name = type(what).__name__, getattr(what, "name", None)
    for part in callables:
        if not callable(getattr(what, part)):
            raise ConfigError(f"{kind}.{part} must be callable, got {getattr(what, part)!r}")
    if not (isinstance(name, str) and name.isascii() and name.replace("-", "").replace("_", "").isalnum()):
        raise ConfigError(f"{kind}.name must be letters, digits, '-' or '_', got {name!r}")


def load(path: Path) -> Feed:
    """Import a feed.py and give its `feed`, or a pipeline.py and give its pipeline's.

    Raises:
        ConfigError: there is no such file, it does not import (with the line at fault), or it holds neither.
    """
    module = imported(path, "feed")
    if isinstance(feed := getattr(module, "feed", None), Feed):
        return feed
    if isinstance(pipeline := getattr(module, "pipeline", None), Joinable):
        return pipeline.as_feed()
    return found(module, path, "feed", Feed)


def found(module: ModuleType, path: Path, name: str, kind: type[T]) -> T:
    """Give a module's `name`.

    Raises:
        ConfigError: it is not there, or not a `kind`.
    """
    what = getattr(module, name, None)
    if not isinstance(what, kind):
        have = "it is a " + type(what).__name__ if what is not None else "there is none"
        raise ConfigError(f"{path}: needs a module-level `{name} = {kind.__name__}(...)`; {have}")
    return what


def imported(path: Path, kind: str) -> ModuleType:
    """Import a user's file.

    Raises:
        ConfigError: there is no such file, or it does not import (with the line at fault).
    """
    if not path.is_file():
        raise ConfigError(f"no such file: {path}")
    name = f"{kind}_{path.resolve().parent.name}"
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
    return module
