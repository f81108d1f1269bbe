"""One process of a join without a model: a joiner of some partitions, or the writer.

It ends when its parent does (`deploy/embedded/child.py`), when a writer has written everything, or with an error that
no retry helps. Imports no model.
"""

import gc
import logging
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path

from msgspec import Struct

from deploy import feed
from deploy.config import Settings
from deploy.embedded.child import serve
from streams.errors import Unreachable
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
    """Do the work that the parent gives, and return the exit code."""
    logging.basicConfig(format="%(asctime)s %(message)s")
    tune()
    stopped = threading.Event()
    return serve(Work, lambda work: run(work, stopped), lambda _: stopped.set(), GRACE_S)


def tune() -> None:
    """Fit the interpreter to a joiner.

    Batches of small objects come and go, and are in no cycle: the collector looks seldom (10 % of a joiner's time). The
    thread that talks to the store gets its turn at once, not after 5 ms, in which the store would wait (20 % of speed).
    """
    gc.freeze()
    gc.set_threshold(100_000, 20, 50)
    sys.setswitchinterval(0.0005)


def _store(settings: Settings, stack: ExitStack) -> Store:
    store = Store(settings.redis)
    stack.callback(store.close)
    return store


ROLES: dict[str, Callable[[Work, ExitStack], Step]] = {"joiner": joiner, "writer": writer}

if __name__ == "__main__":
    sys.exit(main())
