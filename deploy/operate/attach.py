"""A feed seen from another process: its file, settings, folder and clients, for the commands that operate on it.

Owns finding the services, also those that a run embeds. Does not know what is done with them.
"""

import getpass
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from deploy import contradictions
from deploy.config import Settings
from deploy.embedded.services import Addresses, embedded_addresses, with_embedded
from deploy.feed import Feed, load
from deploy.registry.registry import Registry, begun
from deploy.registry.storage.home import Home, home
from streams.errors import BrokerUnreachable, ConfigError, Unreachable
from streams.join.batch import Readers
from streams.join.step import Rules
from streams.join.store import Store
from streams.kafka import Source, Tp
from streams.kafka.broker import Broker


@dataclass(frozen=True, kw_only=True)
class Attached:
    """A feed that a command operates on; `settings` have every address."""

    feed: Feed
    settings: Settings
    home: Home
    store: Store

    @property
    def folder(self) -> Path:
        """This machine's part of the feed."""
        return self.home.folder

    @property
    def shards(self) -> int:
        """How many shards there are."""
        return self.settings.join.shards

    @property
    def registry(self) -> Registry | None:
        """The feed's registry, None where nothing has been learned."""
        return Registry(self.home) if begun(self.home) else None

    @property
    def broker(self) -> Broker:
        """The broker that has the log."""
        return self.settings.kafka

    @property
    def rules(self) -> Rules:
        """The join policy's rules."""
        return Rules.of(self.settings.join)

    @property
    def readers(self) -> Readers:
        """What reads the events of the log."""
        return self.feed.readers(self.settings.topics.named(self.feed.name))

    @property
    def tps(self) -> list[Tp]:
        """The partitions that the join reads."""
        return [Tp(*tp) for tp in self.store.partitions(self.feed.name)]

    @property
    def dead_letters(self) -> Tp:
        """The one partition of the dead letters' topic that has letters."""
        return Tp(self.readers.dead_letters, 0)

    def samples(self, shard: int) -> Tp:
        """Return the partition of the samples' topic that a shard is written to."""
        return Tp(self.settings.output.named(self.feed.name), shard)

    def source(self, tps: Sequence[Tp]) -> "closing[Source]":
        """Return a source of these partitions for a `with`, which closes it."""
        return closing(Source(self.broker, tps))


def addresses(path: Path, settings: Settings) -> str:
    """Return where a feed's broker and store are, without secrets, and whether its run has embedded them."""
    found = embedded_addresses(home(settings.registry.path, load(path).name).folder)
    whole = with_embedded(settings, found)
    broker, store = whole.kafka.bootstrap or "-", "-" if whole.redis.embedded else whole.redis.shown
    ours = {True: " (embedded)", False: ""}
    return (
        f"broker at {broker}{ours[settings.kafka.bootstrap is None]}, store at {store}{ours[settings.redis.embedded]}"
    )


@contextmanager
def attach(path: Path, settings: Settings) -> Iterator[Attached]:
    """Connect to the feed of a feed.py or pipeline.py that runs, or that ran on services that last.

    Raises:
        ConfigError: a service has no address, and no run in this folder has embedded one.
        Unreachable: a service does not answer; the text says so where it was embedded in a run that has ended.
    """
    feed = load(path)
    contradictions.check(settings, feed.name)
    at = home(settings.registry.path, feed.name)
    embedded = embedded_addresses(at.folder)
    settings = with_embedded(settings, embedded)
    if settings.kafka.bootstrap is None or settings.redis.embedded:
        raise ConfigError(
            f"{at.folder} holds no feed that runs on embedded services: use the working directory of the run, or set "
            "kafka.bootstrap and redis.url as the run has them"
        )
    with closing(Store(settings.redis)) as store:
        try:
            yield Attached(feed=feed, settings=settings, home=at, store=store)
        except Unreachable as wrong:
            if not _was_embedded(wrong, embedded):
                raise
            text = str(wrong).rstrip(".")
            raise type(wrong)(f"{text}; it was embedded in a run, and has ended with it") from wrong


def _was_embedded(wrong: Unreachable, embedded: Addresses) -> bool:
    """Return whether the service that does not answer is one that a run has embedded."""
    address = embedded.bootstrap if isinstance(wrong, BrokerUnreachable) else embedded.store
    return address is not None


def note(what: str, who: str | None, why: str, **more: object) -> str:
    """Return an operator's note as JSON; without `who` it names the user of this machine.

    Raises:
        ConfigError: there is no reason.
    """
    if not why.strip():
        raise ConfigError("--why needs a reason: it is kept with the feed")
    said = {"what": what, **more, "who": who or getpass.getuser(), "why": why, "at_ms": int(time.time() * 1_000)}
    return json.dumps(said, ensure_ascii=False)
