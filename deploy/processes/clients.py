"""A role's connections to the broker and the store, closed together; and the joiner, which is built from them.

Imports no model: the workers of a join without one use it, too.
"""

from collections.abc import Sequence
from contextlib import ExitStack

from deploy.config import Settings
from deploy.feed import Feed
from streams.join.joiner import Joiner
from streams.join.store import Store
from streams.kafka import Sink, Source, Tp


class Clients:
    """Makes connections by `settings`, which hold every address; `stack` closes them."""

    def __init__(self, settings: Settings, fetch_wait_ms: int, stack: ExitStack) -> None:
        self._settings, self._fetch_wait_ms, self.stack = settings, fetch_wait_ms, stack

    def source(self, tps: Sequence[Tp], group: str | None = None) -> Source:
        """Return a source of these partitions."""
        source = Source(self._settings.kafka, list(tps), group=group, fetch_wait_ms=self._fetch_wait_ms)
        self.stack.callback(source.close)
        return source

    def sink(self) -> Sink:
        """Return a sink."""
        sink = Sink(self._settings.kafka)
        self.stack.callback(sink.close)
        return sink

    def store(self) -> Store:
        """Return a client of the store."""
        store = Store(self._settings.redis)
        self.stack.callback(store.close)
        return store

    def joiner(self, feed: Feed, tps: Sequence[Tp], store: Store) -> Joiner:
        """Return a joiner of these partitions."""
        readers = feed.readers(self._settings.topics.named(feed.name))
        joiner = Joiner(feed.name, self._settings.join, self.source(tps), store, self.sink(), readers)
        self.stack.callback(joiner.close)
        return joiner
