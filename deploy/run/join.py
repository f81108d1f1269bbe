"""`shadowstream join`: the joiners and the writer of one feed, on its services and topics, and the end; no model.

Owns the order in which these come and go. Does not know what a worker does, nor what an output is.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from msgspec import Struct

from deploy.config import Settings
from deploy.embedded.services import Services
from deploy.feed import load
from deploy.processes.crew import Crew
from deploy.processes.worker import JOINER, WRITER, Work, outputs
from deploy.run.partitions import Partitions, begin
from streams.errors import ConfigError, Unreachable
from streams.join.step import ShardState
from streams.join.store import Store
from streams.outputs.samples import closed
from streams.outputs.writer import rewind

LOOK_EVERY_S = 0.25


class JoinView(Struct, frozen=True, kw_only=True):
    """One look at a join, summed over its shards; the last one is its summary.

    `events` are those that were read, `rejected` went to the dead letters, `waiting` predictions have an open window,
    `samples` were emitted, of which `unread` are not written yet (or read, where they stay in the stream); `lag_ms` is
    how far the watermark is behind the newest event.
    """

    feed: str
    at_ms: int
    lag_ms: int
    events: int
    rejected: int
    predictions: int
    outcomes: int
    joined: int
    negative: int
    corrected: int
    unlabelled: int
    waiting: int
    samples: int
    unread: int
    seconds: float


def look(feed: str, shards: Sequence[ShardState], seconds: float) -> JoinView:
    """Sum the shards up."""
    positions = [at for shard in shards for at in shard.positions.values()]
    at_ms, watermark_ms = max(at.t_ms for at in positions), min(shard.watermark_ms for shard in shards)
    counted = {
        name: sum(shard.counters[name] for shard in shards)
        for name in ("predictions", "outcomes", "joined", "negative", "corrected", "unlabelled", "waiting")
    }
    return JoinView(
        feed=feed,
        at_ms=max(at_ms, 0),
        lag_ms=max(0, at_ms - watermark_ms) if watermark_ms > 0 else 0,
        events=sum(at.records for at in positions),
        rejected=sum(at.rejected for at in positions),
        samples=sum(shard.seq for shard in shards),
        unread=sum(shard.unread for shard in shards),
        seconds=round(seconds, 3),
        **counted,
    )


class Join:
    """A context manager: leaving it ends what was started here."""

    def __init__(self, path: Path, settings: Settings, say: Callable[[str], None], *, fresh: bool) -> None:
        self._path, self._say = path.resolve(), say
        self.feed = load(path)
        self.folder = Path(settings.registry.path).resolve() / self.feed.name
        self.services = Services(settings, self.folder, say, fresh=fresh)
        self._stack, self._began = ExitStack(), time.monotonic()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.settings = stack.enter_context(self.services).settings
            self._store = stack.enter_context(closing(Store(self.settings.redis)))
            self._partitions = stack.enter_context(self._create())
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stack.__exit__(kind, error, at)

    def start(self, *, back: bool = False) -> None:
        """Start the workers, after the output was taken back if that was asked for."""
        to = self.settings.output.to
        if to != "stream":
            with ExitStack() as stack:  # what is wrong with an output is said before anything runs
                opened = outputs(self.feed.name, self.settings, stack)
                for place in rewind(self._store, self.feed.name, opened) if back else ():
                    self._say(f"went back: {place} what the store no longer holds is marked outdated")
        self.crew = self._stack.enter_context(Crew(self._works(), self.folder / "services", self._say))
        topics = self.settings.topics.named(self.feed.name)
        self._say(f"joining {self.feed.name} from {topics.predictions} and {topics.outcomes}")

    def check(self) -> None:
        """Start again whoever was killed, and hand out partitions that were added.

        Raises:
            ShadowstreamError: a worker ended with an error, or an embedded service did.
        """
        self.services.check()
        self.crew.check()
        with suppress(Unreachable):
            self._follow()

    def live(self) -> Iterator[JoinView]:
        """Run until the feed was ended and all is written; gives a look now and then.

        A store that does not answer is waited for, as the workers do.
        """
        while True:
            self.check()
            try:
                shards = self._shards()
            except Unreachable as wrong:
                self._say(f"{wrong}; waiting for it")
                time.sleep(1.0)
                continue
            yield look(self.feed.name, shards, time.monotonic() - self._began)
            if all(closed(shard) for shard in shards) and self.crew.written():
                return
            time.sleep(LOOK_EVERY_S)

    def look(self) -> JoinView:
        """Take one look."""
        return look(self.feed.name, self._shards(), time.monotonic() - self._began)

    def _shards(self) -> list[ShardState]:
        return [self._store.shard(self.feed.name, shard) for shard in range(self.settings.join.shards)]

    def _create(self) -> Partitions:
        settings = self.services.settings
        samples = settings.output.topic.replace("{pipeline}", self.feed.name)
        others = {samples: settings.join.shards} if settings.output.to == "topic" else {}
        made = begin(self.feed.name, settings, self._store, self._say, others)
        if others and made.counts[samples] != settings.join.shards:
            have = f"the topic {samples!r} of the samples has {made.counts[samples]} partitions"
            raise ConfigError(f"{have}, but each of the {settings.join.shards} shards needs one: give output.topic")
        return made

    def _follow(self) -> None:
        """Hand out partitions that were added: no worker owns what could be lost by starting all again."""
        if grown := self._partitions.follow():
            self._say(f"partitions were added: {', '.join(f'{t} has {self._partitions.counts[t]}' for t in grown)}")
            self.crew.change(self._works())

    def _works(self) -> list[Work]:
        """Share the partitions out: those with one number go to one joiner, both topics alike."""
        joiners = min(self.settings.join.joiners, self._partitions.most)
        roles = [JOINER] * joiners + [WRITER] * (self.settings.output.to != "stream")
        return [
            Work(
                role=role,
                feed=str(self._path),
                settings=self.settings,
                tps=[tp for tp in self._partitions.tps if tp.partition % joiners == n],
                fetch_wait_ms=self.services.fetch_wait_ms,
            )
            for n, role in enumerate(roles)
        ]
