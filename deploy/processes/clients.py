"""A role's connections to the broker and the store, closed together; and the joiner, which is built from them.

Imports no model: the workers of a join without one use it, too.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial

from deploy.config import Settings
from deploy.feed import Feed
from streams.join.fits import MOST_BYTES, Takes
from streams.join.joiner import Ages, Joiner, Quiet
from streams.join.store import Store
from streams.kafka import Sink, Source, Tp, partition_counts
from streams.kafka.reading.positions import Positions
from streams.redis import ANSWER_S


class Clients:
    """Makes connections by `settings`, which hold every address; `stack` closes them."""

    def __init__(self, settings: Settings, fetch_wait_ms: int, stack: ExitStack, *, rings: bool = False) -> None:
        """`rings`: all who publish put a note on the board then, as in a replay."""
        self._settings, self._fetch_wait_ms, self._rings, self.stack = settings, fetch_wait_ms, rings, stack

    def source(self, tps: Sequence[Tp], wait: Callable[[float], bool] | None = None) -> Source:
        """Return a source of these partitions; in a replay, where all who publish ring, it fetches when `wait` says."""
        wait, wait_ms = (wait, 1) if self._rings else (None, self._fetch_wait_ms)
        source = Source(self._settings.kafka, list(tps), fetch_wait_ms=wait_ms, wait=wait)
        self.stack.callback(source.close)
        return source

    def positions(self, group: str, topic: str) -> Positions:
        """Return what keeps a group's positions in a topic."""
        positions = Positions(self._settings.kafka, group, [topic])
        self.stack.callback(positions.close)
        return positions

    def sink(self) -> Sink:
        """Return a sink."""
        sink = Sink(self._settings.kafka)
        self.stack.callback(sink.close)
        return sink

    def partitions(self, topics: Sequence[str]) -> dict[str, int]:
        """Return how many partitions topics have."""
        return partition_counts(self._settings.kafka, topics)

    def store(self, answer_s: float = ANSWER_S) -> Store:
        """Return a client of the store, whose answers may take `answer_s`."""
        store = Store(self._settings.redis, answer_s)
        self.stack.callback(store.close)
        return store

    def joiner(
        self,
        feed: Feed,
        tps: Sequence[Tp],
        store: Store,
        ages_ms: Ages | None = None,
        after: Sequence[str] = (),
        quiet: Quiet = lambda tp: 0.0,
    ) -> Joiner:
        """Return a joiner of these partitions; with `ages_ms` its samples go to a learner, else to an output."""
        settings, sink = self._settings, self.sink()
        takes = Takes(content_bytes=_store_bytes(store)) if ages_ms else self._takes(feed.name, sink, store)
        readers = replace(feed.readers(settings.topics.named(feed.name)), takes=takes)
        most = max(1, settings.dead.most_per_minute // settings.join.joiners)
        source = self.source(tps, wait=partial(store.doze, feed.name, after))
        joiner = Joiner(
            feed.name, settings.join, source, store, sink, readers,
            letters_per_minute=most, ages_ms=ages_ms, quiet=quiet,
        )  # fmt: skip
        self.stack.callback(joiner.close)
        return joiner

    def _takes(self, feed: str, sink: Sink, store: Store) -> Takes:
        """Return what the feed's output takes: the labels of its settings, and samples that its topic takes."""
        output, join = self._settings.output, self._settings.join
        numbers = "output.labels = 'number'" if output.kind(join) == "number" else ""
        labels = join.most_outcomes if join.reduce == "list" else 1
        most = sink.limit_bytes(output.named(feed)) if output.to == "topic" else MOST_BYTES
        return Takes.within(min(most, _store_bytes(store)), numbers=numbers, labels=labels)


def _store_bytes(store: Store) -> int:
    """Return how large an event may be for the store."""
    return min(MOST_BYTES, (store.message_bytes() or MOST_BYTES * 2) // 2)
