"""One process of a join without a model: a joiner of some partitions, or the writer.

Owns its own end: it ends when its standard input closes, which only the process that started it holds; when a writer
has written all; or with an error that no retry helps, told as JSON on standard output. Runs as
`python -m deploy.worker` and reads its `Work` from the first line of standard input, for there may be a password in it.
Imports no model.
"""

import gc
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path

import msgspec
from msgspec import Struct

from deploy import feed
from deploy.config import Settings
from streams.errors import ShadowstreamError, Unreachable
from streams.join.joiner import Joiner
from streams.join.store import Store
from streams.kafka import Sink, Source, Tp
from streams.kafka.broker import Broker
from streams.outputs.writer import Output, Target, Writer

BLOCK_MS = 200
RETRY_S = 1.0
GRACE_S = 10.0  # a step may take so long to end before the process goes without it


class Work(Struct, frozen=True, kw_only=True):
    """What a worker does: `role` is joiner or writer, `settings` hold the addresses, also of embedded services."""

    role: str
    feed: str
    settings: Settings
    tps: list[tuple[str, int]]
    fetch_wait_ms: int


class Failure(Struct, frozen=True):
    """How a worker tells its error: the class's name in streams.errors (or its nearest base there) and the text."""

    kind: str
    text: str


Step = Callable[[int], bool]  # waits at most so many ms for something to do; True when all is done


def joiner(work: Work, stack: ExitStack) -> Step:
    """Put a joiner together."""
    what, settings = feed.load(Path(work.feed)), work.settings
    topics = settings.topics.named(what.name)
    tps = [Tp(*tp) for tp in work.tps]
    source = Source(settings.kafka, tps, fetch_wait_ms=work.fetch_wait_ms)
    stack.callback(source.close)
    sink = Sink(settings.kafka)
    stack.callback(sink.close)
    readers = what.readers(topics)
    made = Joiner(what.name, settings.join, source, _store(settings, stack), sink, readers)
    stack.callback(made.close)
    return lambda block_ms: made.step(block_ms) < 0


def writer(work: Work, stack: ExitStack) -> Step:
    """Put the writer together; when it is stopped in order it leaves nothing half written."""
    name, settings = feed.load(Path(work.feed)).name, work.settings
    made = Writer(_store(settings, stack), name, outputs(name, settings, stack))
    stack.push(lambda kind, *_: made.flush() if kind is None else None)
    return made.step


def outputs(name: str, settings: Settings, stack: ExitStack) -> list[Output]:
    """Open the feed's outputs, which must be a topic or Parquet; each module is imported only where it is used."""
    to, join = settings.output, settings.join
    target = Target(
        feed=name,
        shards=join.shards,
        topic=to.topic.replace("{pipeline}", name),
        path=to.path,
        rows_per_file=to.rows_per_file,
        seconds_per_file=to.seconds_per_file,
        labels=to.labels or ("json" if join.reduce == "list" else "number"),
    )
    connect: Callable[[Target, Broker, ExitStack], list[Output]] = import_module(f"streams.outputs.{to.to}").connect
    return connect(target, settings.kafka, stack)


def run(work: Work, stopped: threading.Event) -> None:
    """Do the role's steps until they are done; on what is worth a retry, begin anew."""
    while not stopped.is_set():
        try:
            with ExitStack() as stack:
                step = ROLES[work.role](work, stack)
                while not stopped.is_set():
                    if step(BLOCK_MS):
                        return
        except Unreachable as wrong:
            logging.getLogger("shadowstream").warning("%s: %s; trying again", work.role, wrong)
            stopped.wait(RETRY_S)


def main() -> int:
    """Read the work, do it, and give the exit code."""
    logging.basicConfig(format="%(asctime)s %(message)s")
    tune()
    work = msgspec.json.decode(sys.stdin.buffer.readline(), type=Work)
    stopped = threading.Event()
    threading.Thread(target=_end_with_parent, args=(stopped,), daemon=True).start()
    try:
        run(work, stopped)
    except ShadowstreamError as wrong:
        kind = next(c.__name__ for c in type(wrong).__mro__ if c.__module__ == "streams.errors")
        sys.stdout.buffer.write(msgspec.json.encode(Failure(kind, str(wrong))))
        return wrong.exit_code
    return 0


def tune() -> None:
    """Fit the interpreter to a joiner.

    Batches of small objects come and go, and are in no cycle: the collector looks seldom (10 % of a joiner's time). The
    thread that talks to the store gets its turn at once, not after 5 ms, in which the store would wait (20 % of speed).
    """
    gc.freeze()
    gc.set_threshold(100_000, 20, 50)
    sys.setswitchinterval(0.0005)


def _end_with_parent(stopped: threading.Event) -> None:
    while os.read(0, 1_024):  # not by sys.stdin, whose lock would abort an interpreter that shuts down
        pass
    stopped.set()
    time.sleep(GRACE_S)
    os._exit(1)


def _store(settings: Settings, stack: ExitStack) -> Store:
    store = Store(settings.redis)
    stack.callback(store.close)
    return store


ROLES: dict[str, Callable[[Work, ExitStack], Step]] = {"joiner": joiner, "writer": writer}

if __name__ == "__main__":
    sys.exit(main())
