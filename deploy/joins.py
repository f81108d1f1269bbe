"""`shadowstream join`: services, topics, shards, the joiners and the writer of one feed, and the end of it; no model.

Owns the order in which these come and go. Does not know what a worker does, nor what an output is.
"""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Self

import msgspec
from rich.console import Console

from deploy.config import Settings
from deploy.crew import Crew
from deploy.embedded import Service, start_broker, start_store
from deploy.feed import load
from deploy.join_view import JoinView, line, look, shown
from deploy.session import ADDRESSES, EMBEDDED_FETCH_WAIT_MS, KAFKA_FETCH_WAIT_MS, Addresses, warnings
from deploy.worker import Work, outputs
from streams.errors import ConfigError, Unreachable
from streams.kafka import Source, Tp, ensure_topics
from streams.outputs.samples import closed
from streams.outputs.writer import rewind
from streams.step import ShardState
from streams.store import Store

LOOK_EVERY_S = 0.25


def join(path: Path, settings: Settings, *, as_json: bool = False, fresh: bool = False, back: bool = False) -> None:
    """Join a feed until it was ended (`end-of-feed`) and all its samples are written, or until Ctrl-C.

    `fresh` deletes what the registry's folder holds of the feed first; `back` first takes the output back to what a
    store that went back in time still holds (the command's `--rewind`).
    """
    console = Console(stderr=as_json)
    with Join(path, settings, lambda text: console.print(text, highlight=False), fresh=fresh) as run:
        run.start(back=back)
        with shown(console) as show:
            for view in run.live():
                show(line(view))
        summary = run.look()
    if as_json:
        print(msgspec.json.encode(summary).decode())  # noqa: T201 this is the output
    else:
        console.print(f"the feed has ended. {line(summary)}", highlight=False, soft_wrap=True)


class Join:
    """A context manager: leaving it ends what was started here."""

    def __init__(self, path: Path, settings: Settings, say: Callable[[str], None], *, fresh: bool) -> None:
        self._path, self._say, self._fresh = path.resolve(), say, fresh
        self.feed = load(path)
        self.folder = Path(settings.registry.path).resolve() / self.feed.name
        self._given = self.settings = settings
        self._topics = settings.topics.named(self.feed.name)
        self._embedded: list[Service] = []
        self._stack, self._began = ExitStack(), time.monotonic()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._prepare_folder()
            self.settings = self._services(stack)
            self._store = stack.enter_context(closing(Store(self.settings.redis)))
            self._create()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: object, error: BaseException | None, at: object) -> None:
        try:
            if isinstance(error, Unreachable):
                self._check_embedded()
        finally:
            self._stack.close()

    def start(self, *, back: bool = False) -> None:
        """Start the workers, after the output was taken back if that was asked for."""
        to = self.settings.output.to
        if to != "stream":
            with ExitStack() as stack:  # what is wrong with an output is said before anything runs
                opened = outputs(self.feed.name, self.settings, stack)
                for place in rewind(self._store, self.feed.name, opened) if back else ():
                    self._say(f"went back: {place} what the store no longer holds is marked outdated")
        self.crew = self._stack.enter_context(Crew(self._works(), self.folder / "services", self._say))
        self._say(f"joining {self.feed.name} from {self._topics.predictions} and {self._topics.outcomes}")

    def live(self) -> Iterator[JoinView]:
        """Run until the feed was ended and all is written; gives a look now and then.

        A store that does not answer is waited for, as the workers do.
        """
        while True:
            self._check_embedded()
            self.crew.check()
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

    def _prepare_folder(self) -> None:
        if self._fresh:
            shutil.rmtree(self.folder, ignore_errors=True)
        if self._given.kafka.bootstrap is None and (self.folder / ADDRESSES).is_file():
            raise ConfigError(
                f"{self.folder} holds a feed whose log was in an embedded broker, and that is gone; "
                "--fresh deletes it and begins anew, kafka.bootstrap names a broker that lasts"
            )
        self.folder.mkdir(parents=True, exist_ok=True)

    def _services(self, stack: ExitStack) -> Settings:
        """Start what is not given, and give the settings with every address in them."""
        kafka, redis = self._given.kafka, self._given.redis
        services = self.folder / "services"
        if redis.embedded:
            redis = msgspec.structs.replace(redis, url=self._serve(stack, start_store(services)))
        if kafka.bootstrap is None:
            kafka = msgspec.structs.replace(kafka, bootstrap=self._serve(stack, start_broker(services)))
        addresses = Addresses(
            None if self._given.kafka.bootstrap else kafka.bootstrap, redis.url if self._given.redis.embedded else None
        )
        (self.folder / ADDRESSES).write_bytes(msgspec.json.encode(addresses))
        return msgspec.structs.replace(self._given, kafka=kafka, redis=redis)

    def _serve(self, stack: ExitStack, service: Service) -> str:
        self._embedded.append(stack.enter_context(service))
        self._say(f"embedded {service.log.stem} at {service.address}")
        return service.address

    def _check_embedded(self) -> None:
        for service in self._embedded:
            if service.exit_code is not None:
                what = f"the embedded {service.log.stem} ended with exit code {service.exit_code}"
                raise Unreachable(f"{what}; its log is {service.log}")

    def _create(self) -> None:
        settings, topics = self.settings, self._topics
        wanted = dict.fromkeys((topics.predictions, topics.outcomes, topics.dead), topics.partitions)
        if settings.output.to == "topic":
            wanted[settings.output.topic.replace("{pipeline}", self.feed.name)] = settings.join.shards
        ensure_topics(settings.kafka, wanted)
        for warning in warnings(settings, (topics.predictions, topics.outcomes)):
            self._say(f"warning: {warning}")
        self._store.check()
        tps = self._tps()
        with closing(Source(settings.kafka, tps)) as source:
            starts: dict[tuple[str, int], int] = dict(source.starts().items())
        self._store.create(self.feed.name, settings.join.shards, tps, starts)

    def _tps(self) -> list[Tp]:
        both = (self._topics.predictions, self._topics.outcomes)
        return [Tp(topic, n) for topic in both for n in range(self._topics.partitions)]

    def _works(self) -> list[Work]:
        """Share the partitions out: those with one number go to one joiner, both topics alike."""
        joiners = min(self.settings.join.joiners, self._topics.partitions)
        roles = ["joiner"] * joiners + ["writer"] * (self.settings.output.to != "stream")
        return [
            Work(
                role=role,
                feed=str(self._path),
                settings=self.settings,
                tps=[tp for tp in self._tps() if tp.partition % joiners == n],
                fetch_wait_ms=EMBEDDED_FETCH_WAIT_MS if self._given.kafka.bootstrap is None else KAFKA_FETCH_WAIT_MS,
            )
            for n, role in enumerate(roles)
        ]
