"""`shadowstream join` in a folder of its own: publish events, wait for counts, read samples and dead letters.

Owns the process and the folder. Does not know what is right.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from streams.join.step import ShardState
from streams.join.store import Store
from streams.kafka import Sink, Source, Tp
from streams.kafka.reading.scan import records

NOW = int(time.time() * 1000) - 3_600_000
PATIENCE_S = 300.0  # against a hang alone
FEED = """
from shadowstream import Feed, fields
feed = Feed(name="{name}", prediction=fields(id="id", t="at"), outcome=fields(id="id", t="at", label="y"))
"""


class Join:
    """A running join, or `run`. Its feed.py may lie beside other files; `{name}` in it is the feed's name."""

    def __init__(
        self, folder: Path, name: str, toml: str = "", feed: str = FEED, *, wait: bool = True, command: str = "join",
        **environment: str,
    ) -> None:  # fmt: skip
        self.folder, self.name, self._command = folder, name, command
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "feed.py").write_text(feed.replace("{name}", name))
        (folder / "shadowstream.toml").write_text(toml)
        self.environment = os.environ | environment
        self.start(wait=wait)

    def start(self, *arguments: str, wait: bool = True) -> None:
        """Start the process; with wait until it says that it joins, or has ended."""
        command = [sys.executable, "-m", "deploy.cli.main", self._command, "feed.py", *arguments]
        with (self.folder / "said").open("wb") as said:
            self.process = subprocess.Popen(
                command, cwd=self.folder, env=self.environment, stdout=said, stderr=subprocess.STDOUT
            )
        if wait:
            begun = {"join": "joining", "run": "champion v"}[self._command]
            until(lambda: begun in self.said() or self.process.poll() is not None, self.said)

    def said(self) -> str:
        """Return all that it printed so far."""
        return (self.folder / "said").read_text(errors="replace")

    @property
    def broker(self) -> str:
        """The broker's address."""
        return self.environment.get("SHADOWSTREAM_KAFKA_BOOTSTRAP") or self._embedded("bootstrap")

    @property
    def store(self) -> str:
        """The store's address."""
        return self.environment.get("SHADOWSTREAM_REDIS_URL") or self._embedded("store")

    def _embedded(self, what: str) -> str:
        file = self.folder / ".shadowstream" / self.name / "embedded.json"
        return str(json.loads(file.read_text())[what])

    def publish(self, *rows: tuple[Any, ...], t_ms: int = NOW) -> None:
        """Send rows of (topic's last part, value as bytes, None, or to be JSON[, key])."""
        with closing(Sink(self.broker)) as sink:
            for kind, value, *key in rows:
                data = value if isinstance(value, bytes) or value is None else json.dumps(value).encode()
                sink.send(Tp(f"{self.name}.{kind}", 0), key=key[0] if key else None, value=data, t_ms=t_ms)
            sink.flush()

    def shard(self) -> ShardState:
        """Return the first shard."""
        with closing(Store(self.store)) as store:
            return store.shard(self.name, 0)

    def settled(self, events: int) -> dict[str, int]:
        """Wait until so many events are read or refused; return the counters that are not 0."""

        def enough() -> bool:
            return sum(at.records + at.rejected for at in self.shard().partitions.values()) >= events

        until(enough, self.said)
        return {name: count for name, count in self.shard().counters.items() if count}

    def samples(self) -> list[dict[str, Any]]:
        """Return all samples in the store, as JSON has them."""
        with closing(Store(self.store)) as store:
            return [json.loads(body) for _, body, _ in store.read(self.name, 0, "0-0", 10_000)]

    def letters(self) -> list[str]:
        """Return the reasons of all dead letters."""
        tp = Tp(f"{self.name}.dead", 0)
        with closing(Source(self.broker, [tp])) as source:
            return [dict(record.headers)["reason"].decode() for record in records(source)]

    def ended(self) -> int:
        """Wait for its end and return its exit code."""
        return self.process.wait(PATIENCE_S)

    def stop(self) -> int:
        """Interrupt it, as Ctrl-C does, and return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        return self.ended()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def until(true: Callable[[], object], said: Callable[[], str] = str) -> None:
    """Wait until something is true."""
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline, said()
        time.sleep(0.05)
