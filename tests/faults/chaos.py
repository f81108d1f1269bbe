"""Random faults on a join under load: `make chaos MINUTES=10 SEED=7`; at the end nothing may be lost or doubled.

Each fault is a function of the world that breaks something and leaves it running again. The seed decides which faults
come, and how; the machine's timing is its own.
"""

import argparse
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from deploy.crew import Worker
from deploy.embedded import free_port
from tests.faults.world import World

Fault = Callable[[World], None]


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
    rival = Worker(frozen.work, world.folder / "rival.log")
    world.run(1.5)
    os.kill(frozen.pid, signal.SIGCONT)
    world.run(1.0)
    rival.leave()
    rival.end()


def connections_dropped(world: World) -> None:
    """Every connection to the store breaks."""
    world.proxy.drop()


def replies_lost(world: World) -> None:
    """The store does what it is asked, and the answers get lost."""
    world.proxy.swallow(world.random.randrange(1, 6))
    world.run(0.5)
    world.proxy.swallow(0)


def store_killed(world: World) -> None:
    """SIGKILL of the store, and a start on the same files."""
    world.kill_store()
    world.run(world.random.random())
    world.start_store()


def store_went_back(world: World) -> None:
    """SIGKILL of the store, its log cut at any byte, and a start: acknowledged writes are gone."""
    world.kill_store()
    log = max((world.folder / "store").rglob("*.incr.aof"), key=lambda path: path.stat().st_mtime)
    size = log.stat().st_size
    os.truncate(log, max(size - world.random.randrange(1, 300_000), size // 2))
    world.start_store()


def out_of_memory(world: World) -> None:
    """The store may not grow for a second."""
    with world.redis() as redis:
        redis.config_set("maxmemory", redis.info("memory")["used_memory"] + 10_000)
        world.run(1.0)
        redis.config_set("maxmemory", 0)


def outcomes_paused(world: World) -> None:
    """Predictions go on, outcomes do not."""
    world.load.quiet.set()
    world.run(1.0)
    world.load.quiet.clear()


def broker_killed(world: World) -> None:
    """SIGKILL of the broker, and a start on the same files."""
    world.restart_broker()


ALWAYS: list[Fault] = [
    joiner_killed,
    writer_killed,
    joiner_frozen,
    connections_dropped,
    replies_lost,
    store_killed,
    store_went_back,
    out_of_memory,
    outcomes_paused,
]


def chaos(world: World, seconds: float, faults: list[Fault] | None = None) -> Counter[str]:
    """Break things for so long (or each of `faults` once), and see that nothing came of it; gives what was survived."""
    survived: Counter[str] = Counter()
    kinds = ALWAYS + ([broker_killed] if world.lasting_broker else [])
    until = time.monotonic() + seconds
    world.run(2.0)
    left = list(faults or [])
    while left if faults else time.monotonic() < until:
        fault = left.pop(0) if faults else world.random.choice(kinds)
        fault(world)
        survived[str(fault.__doc__)] += 1
        world.run(world.random.uniform(0.2, 2.0))
    world.end()
    return survived


def main() -> None:
    """Run, and print what was survived."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--minutes", type=float, default=10.0)
    options.add_argument("--seed", type=int, default=free_port())
    given = options.parse_args()
    kafka, redis = (os.environ.get(f"SHADOWSTREAM_TEST_{name}_CMD") for name in ("KAFKA", "REDIS"))
    console = Console()
    console.print(f"seed {given.seed}, {given.minutes:g} minutes, {'external' if kafka else 'embedded'} broker")
    with tempfile.TemporaryDirectory() as folder, World(Path(folder), given.seed, kafka, redis) as world:
        try:
            survived = chaos(world, given.minutes * 60)
            counts = world.verdict()
        except BaseException:
            console.print(f"failed with seed {given.seed}", style="bold red")
            raise
    table = Table("fault", "survived")
    for fault, count in sorted(survived.items()):
        table.add_row(fault, str(count))
    table.add_section()
    table.add_row("all", str(survived.total()))
    console.print(table)
    console.print(", ".join(f"{count:,} {name}" for name, count in counts.items()), f"(emit {world.policy.emit})")
    sys.exit(0)


if __name__ == "__main__":
    main()
