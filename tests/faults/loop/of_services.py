"""The faults of what the loop stands on: store, registry and broker.

Each is a function of the world that breaks something, and repairs it again; its docstring is its name in the table.
"""

import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.faults.loop.loop_world import LoopWorld, stopped
from tests.faults.parts.brokers import Lasting
from tests.faults.parts.registries import Bucket

WRITERS = ("learner", "distiller", "evaluator", "conductor")


def store_killed(world: LoopWorld) -> None:
    """SIGKILL of the store, for some seconds."""
    world.store.server.kill()
    world.go_on(world.random.uniform(1, 8))
    world.store.server.start()


def store_stopped(world: LoopWorld) -> None:
    """SIGSTOP of the store, for some seconds."""
    with stopped(world.store.server.processes):
        world.go_on(world.random.uniform(1, 8))


def store_disconnected(world: LoopWorld) -> None:
    """The store's connections broken, and replies lost."""
    world.store.proxy.swallow(world.random.randrange(1, 6))
    world.go_on(0.5)
    world.store.proxy.drop()


def store_full(world: LoopWorld) -> None:
    """The store's memory full, for some seconds."""
    world.store.server.run("CONFIG", "SET", "maxmemory", 1)
    world.go_on(world.random.uniform(1, 8))
    world.store.server.run("CONFIG", "SET", "maxmemory", 0)


def store_emptied(world: LoopWorld) -> None:
    """The store emptied, while serving goes on; then a new start by a person."""
    world.store.server.redis.flushall()
    world.until(lambda: "start the feed again" in world.said())
    world.serves()
    world.kill()
    world.start()


def disk_full(world: LoopWorld) -> None:
    """No file can be written by learner, distiller, evaluator and conductor, for some seconds."""
    with _no_room([pid for role, pid in world.pids().items() if role in WRITERS]):
        world.go_on(world.random.uniform(1, 8))


def registry_refuses(world: LoopWorld) -> None:
    """The registry read-only, for some seconds."""
    with world.place.refusing():
        world.go_on(world.random.uniform(1, 8))


def bucket_silent(world: LoopWorld) -> None:
    """SIGSTOP of the object store that has the registry, for 30 s."""
    assert isinstance(world.place, Bucket)
    with stopped(world.place.processes):
        world.go_on(30.0)


def bucket_killed(world: LoopWorld) -> None:
    """SIGKILL of the object store that has the registry, for some seconds."""
    assert isinstance(world.place, Bucket)
    world.place.kill()
    world.go_on(world.random.uniform(1, 8))
    world.place.start()


def bucket_disconnected(world: LoopWorld) -> None:
    """The object store's connections broken, and answers lost."""
    assert isinstance(world.place, Bucket)
    world.place.proxy.swallow(world.random.randrange(1, 6))
    world.go_on(0.5)
    world.place.proxy.drop()


def broker_killed(world: LoopWorld) -> None:
    """SIGKILL of Apache Kafka, and a new start."""
    assert isinstance(world.broker, Lasting)
    world.broker.restart()


def broker_stopped(world: LoopWorld) -> None:
    """SIGSTOP of Apache Kafka, for some seconds."""
    assert isinstance(world.broker, Lasting)
    with stopped(world.broker.processes):
        world.go_on(world.random.uniform(1, 8))


def broker_disconnected(world: LoopWorld) -> None:
    """Every connection to Apache Kafka broken, and none that writes let through for some seconds."""
    assert isinstance(world.broker, Lasting)
    world.broker.proxy.unwritable.set()
    world.broker.proxy.drop()
    world.go_on(world.random.uniform(0.5, 3))
    world.broker.proxy.unwritable.clear()


@contextmanager
def _no_room(pids: list[int]) -> Iterator[None]:
    """Let processes write to no file: what a disk without room says, too, is an error of `write`."""
    before = {}
    for pid in pids:
        with suppress(ProcessLookupError):
            before[pid] = resource.prlimit(pid, resource.RLIMIT_FSIZE)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, before[pid][1]))
    try:
        yield
    finally:
        for pid, limit in before.items():
            with suppress(ProcessLookupError):
                resource.prlimit(pid, resource.RLIMIT_FSIZE, limit)
