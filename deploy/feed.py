"""What a user's feed.py defines: how to read the two events of a join without a model; and loading such a file.

Owns the contract between a user's file and the join. Does not know where anything runs, nor what a model is.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from compressors.arguments import named, shown
from deploy import loading
from deploy.config import Topics
from streams.errors import ConfigError
from streams.events import Event
from streams.join.batch import Readers
from streams.readers import Reader

MOST_CHARS = 200  # of a name: it is a folder's, and with a word of ours a topic's and a transactional id's


@named(ConfigError)
@dataclass(frozen=True, kw_only=True)
class Feed:
    """Two topics that are joined without a model; a feed.py assigns it to `feed`.

    `name`: letters, digits, "-" and "_", at most 200. It is part of the topics' names (`NAME.predictions`,
        `NAME.outcomes`, `NAME.dead`; the section [topics] of the TOML file can change them) and of the store's keys.
    `prediction`, `outcome`: functions that make an `Event` of a `Record` of these topics; `fields` makes such
        functions. An event's `body` is JSON: all that a sample should keep of a prediction, or the label of an outcome.
        A record for which they raise an error goes to the dead letters, with the error as its reason.

    Raises:
        ConfigError: the name has other characters, or a reader cannot be called.

    >>> from shadowstream import Feed, Record, fields
    >>> feed = Feed(
    ...     name="ads",
    ...     prediction=fields(id="ad", t="shown_at"),
    ...     outcome=fields(id="ad", t="clicked_at", label="price"),
    ... )
    >>> value = b'{"ad": "a1", "clicked_at": 1700000000000, "price": 0.5}'
    >>> feed.outcome(Record("ads.outcomes", 0, 7, 0, 0, None, value))
    Event(id='a1', t_ms=1700000000000, body=b'0.5')
    """

    name: str
    prediction: Reader[Event]
    outcome: Reader[Event]

    def __post_init__(self) -> None:
        check(self, "prediction", "outcome")

    def readers(self, topics: Topics) -> Readers:
        """Return the topics and readers for a joiner; `topics` must have the feed's name filled in."""
        return Readers(
            predictions=topics.predictions,
            outcomes=topics.outcomes,
            dead_letters=topics.dead,
            prediction=self.prediction,
            outcome=self.outcome,
        )


@runtime_checkable
class Joinable(Protocol):
    """What contains a feed that can be joined: a pipeline."""

    def as_feed(self) -> Feed:
        """Return the feed."""
        ...


def check(what: object, *callables: str) -> None:
    """Check that parts of a Feed or Pipeline can be called, and that Kafka and Redis allow its name.

    Raises:
        ConfigError: one cannot, or its name is not allowed; the text names the part and its value.
    """
    kind, name = type(what).__name__, getattr(what, "name", None)
    for part in callables:
        if not callable(getattr(what, part)):
            raise ConfigError(f"{kind}.{part} must be callable, got {shown(getattr(what, part))}")
    if why := name_fault(name):
        raise ConfigError(f"{kind}.name must {why}, got {shown(name)}")


def name_fault(name: object) -> str | None:
    """Return what the name of a feed or pipeline must be and this one is not; None where it is.

    >>> name_fault("ads")
    >>> name_fault("my ads")
    "be letters, digits, '-' or '_'"
    """
    if not isinstance(name, str) or re.fullmatch(r"[A-Za-z0-9_-]+", name) is None:
        return "be letters, digits, '-' or '_'"
    if not name.strip("-_"):
        return "have a letter or a digit"
    return None if len(name) <= MOST_CHARS else f"have at most {MOST_CHARS} characters and not {len(name)}"


def load(path: Path) -> Feed:
    """Import a feed.py and return its `feed`, or a pipeline.py and return its pipeline's.

    Raises:
        ConfigError: there is no such file, it does not import (the text has the line at fault), or it defines neither.
    """
    module = loading.imported(path, "feed")
    if isinstance(feed := getattr(module, "feed", None), Feed):
        return feed
    if isinstance(pipeline := getattr(module, "pipeline", None), Joinable):
        return pipeline.as_feed()
    return loading.attribute(module, path, "feed", Feed)
