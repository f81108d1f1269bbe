"""The faults: each is a function of the world that breaks something, and repairs it again.

Its docstring is its name in the summary. Owns no process: what is broken is the world's.
"""

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Timer

from deploy.processes import crew
from deploy.processes.worker import GRACE_S
from tests.faults.parts.brokers import Lasting
from tests.faults.parts.stores import One, Three, cut
from tests.faults.world import NAME, SHARDS, World
from tests.services.redis import until

Fault = Callable[[World], None]
CLOCKS = Path(__file__).parent / "clock"


def joiner_killed(world: World) -> None:
    """SIGKILL of a joiner."""
    os.kill(world.random.choice(world.workers[:-1]).pid, signal.SIGKILL)


def writer_killed(world: World) -> None:
    """SIGKILL of the writer."""
    os.kill(world.workers[-1].pid, signal.SIGKILL)


def joiner_frozen(world: World) -> None:
    """SIGSTOP of a joiner, another takes its place, then SIGCONT: two joiners of the same partitions."""
    frozen = world.random.choice(world.workers[:-1])
    os.kill(frozen.pid, signal.SIGSTOP)
    rival = crew.start(frozen.work, world.folder / "rival.log")
    world.run(1.5)
    with suppress(ProcessLookupError):  # the join began again meanwhile
        os.kill(frozen.pid, signal.SIGCONT)
    world.run(1.0)
    rival.leave()
    rival.wait(GRACE_S)


def clock_an_hour_off(world: World) -> None:
    """A joiner's clock is an hour fast, or an hour slow."""
    off = {"PYTHONPATH": f"{CLOCKS}:{os.environ.get('PYTHONPATH', '')}"}
    off["FAULTS_CLOCK_S"] = str(world.random.choice([-3_600, 3_600]))
    before = {name: os.environ.get(name) for name in off}
    os.environ.update(off)
    joiners = world.workers[:-1]
    joiner_killed(world)
    until(lambda: any(joiner.exit_code is not None for joiner in joiners))
    world.check()
    os.environ.update({name: value or "" for name, value in before.items()})


def connections_dropped(world: World) -> None:
    """Every connection to the store breaks."""
    if isinstance(world.store, One):
        world.store.proxy.drop()
    else:
        for server in world.store.servers:
            server.run("CLIENT KILL TYPE normal SKIPME yes")


def replies_lost(world: World) -> None:
    """The store does what it is asked to, but its answers are lost."""
    assert isinstance(world.store, One)
    world.store.proxy.swallow(world.random.randrange(1, 6))
    world.run(0.5)
    world.store.proxy.swallow(0)


def store_killed(world: World) -> None:
    """SIGKILL of the store, or of one node, and a start on the same files."""
    server = world.random.choice(world.store.servers)
    server.kill()
    seconds = world.random.random()
    starts = Timer(seconds, server.start)  # not after `run`: a join that begins again there waits for the store
    starts.start()
    world.run(seconds)
    starts.join()


def store_went_back(world: World) -> None:
    """SIGKILL of the store, or of one node, its log cut at any byte, and a start: acknowledged writes are gone."""
    world.excused.add("BROKEN")
    cut(world.random.choice(world.store.servers), world.random)


def replica_lagged(world: World) -> None:
    """SIGKILL of the store; a lagging replica takes over."""
    assert isinstance(world.store, One)
    world.store.fail_over(lambda: world.run(world.random.uniform(0.1, 1.0)))


def flushed(world: World) -> None:
    """FLUSHALL of the store, or of one node."""
    world.excused.add("MISSING")
    redis = world.random.choice(world.store.servers).redis
    redis.flushall()
    redis.bgrewriteaof()  # a log that is cut must not bring back what was before
    until(lambda: not redis.info("persistence")["aof_rewrite_in_progress"])


def slot_migrated(world: World) -> None:
    """A shard's slot moves to another node."""
    assert isinstance(world.store, Three)
    world.excused |= {"MISSING", "BROKEN"}
    world.store.ready()
    world.store.migrate(NAME, world.random.randrange(SHARDS), world.random)


def out_of_memory(world: World) -> None:
    """The store, or one node, may not grow for a second."""
    redis = world.random.choice(world.store.servers).redis
    redis.config_set("maxmemory", redis.info("memory")["used_memory"] + 10_000)
    grows = Timer(1.0, redis.config_set, ("maxmemory", 0))  # meanwhile no join starts: it cannot note whose the feed is
    grows.start()
    world.run(1.0)
    grows.join()


def outcomes_paused(world: World) -> None:
    """Predictions go on past the end of their windows, but no outcomes come."""
    world.load.quiet.set()
    world.run(1.0)
    world.load.quiet.clear()


def broker_killed(world: World) -> None:
    """SIGKILL of the broker, and a start on the same files."""
    assert isinstance(world.broker, Lasting)
    world.broker.restart()


def broker_dropped(world: World) -> None:
    """Connections to the broker break, and its answers are lost."""
    assert isinstance(world.broker, Lasting)
    world.broker.proxy.drop()
    world.broker.proxy.swallow(world.random.randrange(1, 6))
    world.run(0.5)
    world.broker.proxy.swallow(0)


def letters_down(world: World) -> None:
    """Many malformed events while the dead letters' topic accepts nothing, and a joiner is killed meanwhile."""
    assert isinstance(world.broker, Lasting)
    world.load.burst(world.malformed)
    world.broker.proxy.unwritable.set()
    world.run(world.down_s)
    joiner_killed(world)
    world.broker.proxy.unwritable.clear()


ANY: list[Fault] = [
    joiner_killed,
    writer_killed,
    joiner_frozen,
    clock_an_hour_off,
    connections_dropped,
    store_killed,
    store_went_back,
    out_of_memory,
    outcomes_paused,
]
ALONE: list[Fault] = [replies_lost, replica_lagged]
NODES: list[Fault] = [slot_migrated]
LASTING: list[Fault] = [broker_killed, broker_dropped, letters_down]
ONCE: list[Fault] = [flushed]  # all is joined again, which takes longer and longer


def possible(world: World) -> list[Fault]:
    """Return the faults that can come repeatedly in a world."""
    store = ALONE if isinstance(world.store, One) else NODES
    return ANY + store + (LASTING if isinstance(world.broker, Lasting) else [])
