"""The faults of the whole loop: each is a function of the world that breaks something, and repairs it again.

Its docstring is its name in the table; `LONGEST_S` says how long nothing may be answered by each.
"""

import os
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from tests.faults.loop.loop_world import LoopWorld
from tests.faults.parts.brokers import Lasting

Fault = Callable[[LoopWorld], None]
WRITERS = ("learner", "distiller", "evaluator", "conductor")


def role_killed(world: LoopWorld) -> None:
    """SIGKILL of a role."""
    _send(world, signal.SIGKILL, 1)


def server_killed(world: LoopWorld) -> None:
    """SIGKILL of the server."""
    os.kill(world.pids()["server"], signal.SIGKILL)


def two_killed(world: LoopWorld) -> None:
    """SIGKILL of two roles at once."""
    _send(world, signal.SIGKILL, 2)


def server_stopped(world: LoopWorld) -> None:
    """SIGSTOP of the server."""
    os.kill(world.pids()["server"], signal.SIGSTOP)


def learner_stopped(world: LoopWorld) -> None:
    """SIGSTOP of the learner for some seconds."""
    pid = world.pids()["learner"]
    os.kill(pid, signal.SIGSTOP)
    world.go_on(world.random.uniform(1, 5))
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


def raylet_killed(world: LoopWorld) -> None:
    """SIGKILL of Ray's raylet."""
    _ray_killed(world, "raylet")


def gcs_killed(world: LoopWorld) -> None:
    """SIGKILL of Ray's gcs_server."""
    _ray_killed(world, "gcs_server")


def driver_killed(world: LoopWorld) -> None:
    """SIGKILL of the run itself, and a new start."""
    world.kill()
    world.start()


def store_killed(world: LoopWorld) -> None:
    """SIGKILL of the store, for some seconds."""
    world.store.server.kill()
    world.go_on(world.random.uniform(1, 8))
    world.store.server.start()


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


def broker_killed(world: LoopWorld) -> None:
    """SIGKILL of Apache Kafka, and a new start."""
    assert isinstance(world.broker, Lasting)
    world.broker.restart()


def broker_disconnected(world: LoopWorld) -> None:
    """Every connection to Apache Kafka broken, and none that writes let through for some seconds."""
    assert isinstance(world.broker, Lasting)
    world.broker.proxy.unwritable.set()
    world.broker.proxy.drop()
    world.go_on(world.random.uniform(0.5, 3))
    world.broker.proxy.unwritable.clear()


ALL: tuple[Fault, ...] = (
    role_killed, server_killed, two_killed, server_stopped, learner_stopped, raylet_killed, gcs_killed, driver_killed,
    store_killed, store_disconnected, store_full, store_emptied, disk_full,
)  # fmt: skip
OF_KAFKA: tuple[Fault, ...] = (broker_killed, broker_disconnected)
LONGEST_S: dict[Fault, float] = {raylet_killed: 30.0, gcs_killed: 30.0}
LONGEST_OTHERS_S = 10.0
UNBOUNDED = {driver_killed, store_emptied, *OF_KAFKA}  # nobody serves without a run, or without a broker


def _send(world: LoopWorld, number: signal.Signals, count: int) -> None:
    pids = sorted(world.pids().items())
    for _, pid in world.random.sample(pids, min(count, len(pids))):
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _ray_killed(world: LoopWorld, name: str) -> None:
    before = {one.role: one.pid for one in world.pulse.roles}
    process = world.ray(name)
    assert process is not None, world.said()
    process.kill()
    world.until(lambda: all(one.pid not in (0, before[one.role]) for one in world.pulse.roles))


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
