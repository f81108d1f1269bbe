"""Where a feed is: its file, settings, folder and clients, for the commands that operate on it from another process.

Owns finding the services, also those that a run embeds. Does not know what is done with them.
"""

import getpass
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from deploy.config import Settings
from deploy.embedded.services import ADDRESSES, with_running
from deploy.feed import Feed, load
from deploy.registry.kinds import COMMITS
from deploy.registry.registry import Registry
from streams.errors import ConfigError
from streams.join.batch import Readers
from streams.join.step import Rules
from streams.join.store import Store
from streams.kafka import Source, Tp
from streams.kafka.broker import Broker


@dataclass(frozen=True, kw_only=True)
class Place:
    """A feed, with every address in `settings`."""

    feed: Feed
    settings: Settings
    folder: Path
    store: Store

    @property
    def shards(self) -> int:
        """How many there are."""
        return self.settings.join.shards

    @property
    def registry(self) -> Registry | None:
        """The learner's commits, where the feed is learned."""
        return Registry(self.folder) if COMMITS.path(self.folder, 0).exists() else None

    @property
    def broker(self) -> Broker:
        """Where the log is."""
        return self.settings.kafka

    @property
    def rules(self) -> Rules:
        """The policy's rules."""
        return Rules.of(self.settings.join)

    @property
    def readers(self) -> Readers:
        """What reads the log."""
        return self.feed.readers(self.settings.topics.named(self.feed.name))

    @property
    def tps(self) -> list[Tp]:
        """The partitions that are joined."""
        return [Tp(*tp) for tp in self.store.partitions(self.feed.name)]

    @property
    def dead_letters(self) -> Tp:
        """The one partition that they are in."""
        return Tp(self.readers.dead_letters, 0)

    def samples(self, shard: int) -> Tp:
        """Give the partition of the samples' topic that a shard is written to."""
        return Tp(self.settings.output.topic.replace("{pipeline}", self.feed.name), shard)

    def source(self, tps: Sequence[Tp]) -> "closing[Source]":
        """Read partitions; closed at the end of a `with`."""
        return closing(Source(self.broker, tps))


@contextmanager
def opened(path: Path, settings: Settings) -> Iterator[Place]:
    """Open a feed.py or pipeline.py that runs, or ran on services that last.

    Raises:
        ConfigError: a service is not given, and nothing that runs here has embedded one.
    """
    feed = load(path)
    folder = Path(settings.registry.path).resolve() / feed.name
    if (folder / ADDRESSES).is_file():
        settings = with_running(settings, folder)
    elif settings.kafka.bootstrap is None or settings.redis.embedded:
        raise ConfigError(
            f"{folder} holds no feed: run it from here, or give kafka.bootstrap and redis.url of where it runs"
        )
    with closing(Store(settings.redis)) as store:
        yield Place(feed=feed, settings=settings, folder=folder, store=store)


def note(what: str, who: str | None, why: str, **more: object) -> str:
    """Give an operator's note as JSON; `who` is the user of this machine where it is not given.

    Raises:
        ConfigError: there is no reason.
    """
    if not why.strip():
        raise ConfigError("--why must say why: it is kept with the feed")
    said = {"what": what, **more, "who": who or getpass.getuser(), "why": why, "at_ms": int(time.time() * 1_000)}
    return json.dumps(said, ensure_ascii=False)
