"""One worker of a join without a model: a joiner of some partitions, or the writer.

As a process of this machine it ends when its parent does (`deploy/embedded/child.py`), when a writer has written
everything, or with an error that no retry helps; `far.py` has it in an actor. Imports no model.
"""

import gc
import logging
import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from importlib import import_module
from pathlib import Path

from msgspec import Struct

from deploy import feed
from deploy.config import Settings
from deploy.embedded.child import serve
from deploy.processes.clients import Clients
from deploy.processes.loop import Builder, Loop, Step
from streams.join.store import Store
from streams.kafka import Tp
from streams.kafka.broker import Broker
from streams.outputs.writer import Output, Target, Writer

BLOCK_MS = 200
GRACE_S = 1.5  # how long a step may take to end before the process exits without it
JOINER, WRITER = "joiner", "writer"


class Work(Struct, frozen=True, kw_only=True):
    """What a worker does: `role` is JOINER or WRITER, `tps` are the partitions of a joiner.

    `feed` is the path of the feed.py; `settings` have every address, also those of embedded services. A fetch that
    finds nothing waits at the broker for `fetch_wait_ms` at most.
    """

    role: str
    feed: str
    settings: Settings
    tps: list[tuple[str, int]]
    fetch_wait_ms: int


def job(work: Work, loop: Loop, _: object = None) -> Builder:
    """Prepare this process for a worker's load, and return what builds the worker."""
    tune()
    return partial(build, work, loop)


def build(work: Work, loop: Loop, stack: ExitStack) -> Step:
    """Build the worker's role; `stack` closes its clients."""
    clients = Clients(work.settings, work.fetch_wait_ms, stack)
    joined = feed.load(Path(work.feed))
    if work.role == WRITER:
        return _writer(joined.name, work.settings, clients.store(), loop, stack)
    return clients.joiner(joined, [Tp(*tp) for tp in work.tps], clients.store()).step


def _writer(name: str, settings: Settings, store: Store, loop: Loop, stack: ExitStack) -> Step:
    """Return the writer's step, which ends the loop once all is written; a writer that is stopped flushes first."""
    writer = Writer(store, name, outputs(name, settings, stack))
    stack.push(lambda kind, *_: writer.flush() if kind is None else None)

    def step(block_ms: int) -> None:
        if writer.step(block_ms):
            loop.stop()

    return step


def outputs(name: str, settings: Settings, stack: ExitStack) -> list[Output]:
    """Open the outputs of a feed whose samples go to a topic or to Parquet files, one output a shard.

    Imports the module of that output only: pyarrow need not be installed for a topic.
    """
    to, join = settings.output, settings.join
    target = Target(
        feed=name,
        shards=join.shards,
        topic=to.named(name),
        path=to.path,
        rows_per_file=to.rows_per_file,
        seconds_per_file=to.seconds_per_file,
        labels=to.kind(join),
    )
    connect: Callable[[Target, Broker, ExitStack], list[Output]] = import_module(f"streams.outputs.{to.to}").connect
    return connect(target, settings.kafka, stack)


def main() -> int:
    """Do the work that the parent sends, and return the exit code."""
    logging.basicConfig(format="%(asctime)s %(message)s")
    loop = Loop()

    def do(work: Work) -> None:
        loop.run(work.role, job(work, loop), BLOCK_MS)

    return serve(Work, do, lambda _: loop.stop(), GRACE_S)


def tune() -> None:
    """Set the interpreter for a joiner's load.

    Batches of small objects come and go without cycles, so the collector runs seldom (it took 10 % of a joiner's time).
    Threads take turns every 0.5 ms, not every 5 ms, for which the store would wait (20 % of the speed).
    """
    gc.freeze()
    gc.set_threshold(100_000, 20, 50)
    sys.setswitchinterval(0.0005)


if __name__ == "__main__":
    sys.exit(main())
