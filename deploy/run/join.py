"""One join without a model: services, topics, the joiners and the writer of one feed, and the end.

Owns the order in which these are started and ended. Does not know what a worker does, nor what an output is.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from deploy import contradictions
from deploy.config import Settings
from deploy.doubts import Judge
from deploy.embedded.services import Services, provided
from deploy.feed import Feed, load
from deploy.processes.crew import Crew, Start, in_child
from deploy.processes.worker import JOINER, WRITER, Work, outputs
from deploy.registry.storage.home import home
from deploy.run.claim import Claim, claimed
from deploy.run.left import Left, left
from deploy.run.nodes import everywhere, on_cluster, with_ray
from deploy.run.partitions import Partitions, Say, begin
from deploy.run.view import JoinView, look, states
from streams.errors import ConfigError, PositionError, StoreRefused, Unreachable
from streams.join.step import ShardState
from streams.join.store import Store
from streams.outputs.samples import closed
from streams.outputs.writer import rewind

if TYPE_CHECKING:
    from deploy.processes.nodes.node import Node

LOOK_EVERY_S = 0.25
WAIT_S = 1.0  # between two tries to reach a store that does not answer


@contextmanager
def joining(
    path: Path, settings: Settings, say: Say, *, fresh: bool, back: bool = False, take_over: bool = False
) -> Iterator["Join"]:
    """Start the joiners and the writer of a feed; leaving the `with` ends what was started here.

    `fresh` first deletes what the registry's folder holds of the feed. `back` is the command's `--rewind`: what was
    written, but is no longer in a store that went back in time, is marked as outdated. `take_over` takes the feed from
    another run.

    Raises:
        InUse: another run has the feed.
        ConfigError: the feed or its settings cannot work.
        Unreachable: a service does not answer.
        StoreRefused: the store holds another feed of this name, or must not be used.
        HistoryChanged: the output holds no sample where the store's streams begin.
    """
    began_s, loaded = time.monotonic(), load(path)
    feed = loaded.name
    contradictions.check(settings, feed)
    if settings.ray.cluster is not None:
        settings = everywhere(settings)
    at = home(settings.registry.path, feed)
    with (
        on_cluster(path, settings, _joiners(settings), at, say) as cluster,
        claimed(feed, at, settings, say, take_over=take_over) as claim,
        provided(settings, at, say, fresh=fresh) as services,
        claim.held(services.settings, say),
        closing(Store(services.settings.redis)) as store,
        _partitions(loaded, services.settings, store, say) as partitions,
    ):
        settings = services.settings
        _check_outputs(feed, settings, store, say, back=back)
        works = partial(_works, path.resolve(), settings, partitions, services.fetch_wait_ms)
        start = _start(feed, settings, at.folder / "services", far=cluster is not None)
        with Crew(works(), start, say, cluster.answers if cluster else lambda: True) as crew:
            topics = settings.topics.named(feed)
            say(f"joining {feed} from {topics.predictions} and {topics.outcomes}")
            join = Join(
                feed=feed,
                crew=crew,
                _judge=Judge(feed, loaded.readers(topics), settings.join),
                _claim=claim,
                _cluster=cluster,
                _services=services,
                _store=store,
                _partitions=partitions,
                _works=works,
                _say=say,
                _began_s=began_s,
            )
            services.holds = True
            try:
                yield join
            finally:
                with suppress(Unreachable, StoreRefused):
                    join.look()  # what was read since the last look
                services.holds = join.last is not None and join.last.events > 0


def _partitions(feed: Feed, settings: Settings, store: Store, say: Say) -> Partitions:
    """Create topics and shards; a topic of samples must have a partition for each shard."""
    samples, shards = settings.output.named(feed.name), settings.join.shards
    others = {samples: shards} if settings.output.to == "topic" else {}
    made = begin(feed, settings, store, say, others)
    if others and made.counts[samples] != shards:
        have = f"the topic {samples!r} of the samples has {made.counts[samples]} partitions"
        raise ConfigError(f"{have}, but each of the {shards} of join.shards needs one; set output.topic to another")
    return made


def _check_outputs(feed: str, settings: Settings, store: Store, say: Say, *, back: bool) -> None:
    """Open the outputs, so that faults in them are reported before anything runs; with `back`, rewind them."""
    if settings.output.to == "stream":
        return
    with ExitStack() as stack:
        opened = outputs(feed, settings, stack)
        for place in rewind(store, feed, opened) if back else ():
            say(f"went back: {place} what the store no longer holds is marked outdated")


def _joiners(settings: Settings) -> list[str]:
    return [f"{JOINER}-{n}" for n in range(settings.join.joiners)]


def _start(feed: str, settings: Settings, folder: Path, *, far: bool) -> Start:
    """Return what starts a worker: on this machine, or, where it is a joiner and there are others, in an actor.

    The writer is here always: so is the folder that it writes to.
    """
    here = in_child(folder)
    if not far:
        return here
    there: Start = with_ray("actors.far", settings).in_actors(feed, folder)
    return lambda work, n: there(work, n) if work.role == JOINER else here(work, n)


def _works(path: Path, settings: Settings, partitions: Partitions, fetch_wait_ms: int) -> list[Work]:
    """Share the partitions out; those of one number, of both topics, go to the same joiner."""
    joiners = settings.join.joiners
    roles = [JOINER] * joiners + [WRITER] * (settings.output.to != "stream")
    return [
        Work(
            role=role,
            feed=str(path),
            settings=settings,
            tps=[tp for tp in partitions.tps if tp.partition % joiners == n],
            fetch_wait_ms=fetch_wait_ms,
        )
        for n, role in enumerate(roles)
    ]


@dataclass(kw_only=True)
class Join:
    """A join that has begun; `joining` makes it. `crew` are its processes, `last` is the last look."""

    feed: str
    crew: Crew
    _judge: Judge
    _claim: Claim
    _cluster: "Node | None"
    _services: Services
    _store: Store
    _partitions: Partitions
    _works: Callable[[], list[Work]]
    _say: Say
    _began_s: float
    last: JoinView | None = None
    _seen: list[ShardState] | None = None

    @property
    def left(self) -> Left | None:
        """What the next start finds, as of the last look."""
        if not self._seen:
            return None
        settings, streams = self._services.settings, f"{{{self.feed}.0}}:s" + ", ..." * (self._judge.policy.shards > 1)
        topic, folder = settings.output.named(self.feed), Path(settings.output.path).resolve()
        places = {"topic": f"the topic {topic}", "parquet": f"the files in {folder}"}
        samples = places.get(settings.output.to, f"the store's stream {streams}")
        return left(self._seen, samples, lasting=self._services.lasting)

    def check(self) -> None:
        """Replace workers that were killed, and distribute partitions that were added.

        Raises:
            ShadowstreamError: a worker ended with an error, or an embedded service did, a cluster's head is lost, or
                another run has the feed.
        """
        self._claim.check()
        self._services.check()
        if self._cluster:
            self._cluster.check()
        try:
            self.crew.check()
        except PositionError:
            self._partitions.look_closer()
            raise
        with suppress(Unreachable):
            if self._partitions.follow():
                self.crew.change(self._works())  # no worker owns what could be lost by starting all again

    def live(self) -> Iterator[JoinView]:
        """Run until the feed has ended and all is written; yield a look every `LOOK_EVERY_S`.

        Waits for a store that does not answer, as the workers do.
        """
        while True:
            self.check()
            try:
                shards = self._states()
                view = self._view(shards)
            except Unreachable as wrong:
                self._say(f"{wrong}; waiting for it")
                time.sleep(WAIT_S)
                continue
            yield view
            if all(closed(shard) for shard in shards) and self.crew.written():
                return
            time.sleep(LOOK_EVERY_S)

    def look(self) -> JoinView:
        """Return one look."""
        return self._view(self._states())

    def _states(self) -> list[ShardState]:
        self._seen = states(self._store, self._judge)
        return self._seen

    def _view(self, shards: Sequence[ShardState]) -> JoinView:
        held = [one.line for one in self._partitions.held]
        seconds = time.monotonic() - self._began_s
        self.last = look(shards, self._judge(self._store, shards), self.feed, seconds, held)
        return self.last
