"""The faults of the loop's own processes: roles, the run that looks after them, and Ray under both.

Each is a function of the world that breaks something, and repairs it again; its docstring is its name in the table.
"""

import os
import signal
from collections.abc import Sequence

import psutil

from tests.faults.loop.loop_world import LoopWorld, lives, stopped


def role_killed(world: LoopWorld) -> None:
    """SIGKILL of a role."""
    _kill(world, 1)


def server_killed(world: LoopWorld) -> None:
    """SIGKILL of the server."""
    os.kill(world.pids()["server"], signal.SIGKILL)


def two_killed(world: LoopWorld) -> None:
    """SIGKILL of two roles at once."""
    _kill(world, 2)


def all_killed(world: LoopWorld) -> None:
    """SIGKILL of all roles at once."""
    _kill(world, len(world.pids()))


def server_stopped(world: LoopWorld) -> None:
    """SIGSTOP of the server."""
    os.kill(world.pids()["server"], signal.SIGSTOP)


def role_stopped(world: LoopWorld) -> None:
    """SIGSTOP of a role but the server, for some seconds."""
    with stopped([psutil.Process(_one(world))]):
        world.go_on(world.random.uniform(1, 5))


def role_frozen(world: LoopWorld) -> None:
    """SIGSTOP of a role but the server, until it is started again."""
    pid = _one(world)
    os.kill(pid, signal.SIGSTOP)
    world.until(lambda: pid not in world.pids().values())


def raylet_killed(world: LoopWorld) -> None:
    """SIGKILL of Ray's raylet."""
    _ray_killed(world, "raylet")


def gcs_killed(world: LoopWorld) -> None:
    """SIGKILL of Ray's gcs_server."""
    _ray_killed(world, "gcs_server")


def raylet_stopped(world: LoopWorld) -> None:
    """SIGSTOP of Ray's raylet, for some seconds."""
    with stopped([world.ray("raylet")]):
        world.go_on(world.random.uniform(1, 8))


def gcs_stopped(world: LoopWorld) -> None:
    """SIGSTOP of Ray's gcs_server, for some seconds."""
    with stopped([world.ray("gcs_server")]):
        world.go_on(world.random.uniform(1, 8))


def driver_killed(world: LoopWorld) -> None:
    """SIGKILL of the run itself, and a new start, which ends what is left of it."""
    left, sessions = world.kill(), world.sessions()
    world.start()
    world.serves()
    world.until(lambda: not (any(map(lives, left)) or any(session.exists() for session in sessions)))


def driver_stopped(world: LoopWorld) -> None:
    """SIGSTOP of the run itself, for some seconds."""
    with stopped([psutil.Process(world.run.pid)]):
        world.go_on(world.random.uniform(1, 8))


def taken_over(world: LoopWorld) -> None:
    """A second run takes the pipeline from the first (--take-over)."""
    first = world.run
    world.start("--take-over")
    world.until(lambda: first.poll() is not None)
    assert first.returncode == 9, world.said()


def _kill(world: LoopWorld, count: int) -> None:
    pids = sorted(world.pids().items())
    for _, pid in world.random.sample(pids, min(count, len(pids))):
        os.kill(pid, signal.SIGKILL)


def _one(world: LoopWorld) -> int:
    others: Sequence[int] = [pid for role, pid in sorted(world.pids().items()) if role != "server"]
    return world.random.choice(others)


def _ray_killed(world: LoopWorld, name: str) -> None:
    before = {one.role: one.pid for one in world.pulse.roles}
    world.ray(name).kill()
    world.until(lambda: all(one.pid not in (0, before[one.role]) for one in world.pulse.roles))
