"""Random faults on a join under load: `make chaos MINUTES=10 SEED=7`; at the end nothing may be lost or doubled.

Two thirds of the time with one store, the rest with a cluster. The seed decides which faults come, and how; the
machine's timing is its own.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from deploy.cli.signals import orderly
from deploy.embedded.servers import free_port
from tests.faults.breaks import ONCE, Fault, possible
from tests.faults.loop import chaos_loop
from tests.faults.parts.verdict import verdict
from tests.faults.world import World

ENDS_S = 60.0  # for all that was started, at Ctrl-C


def chaos(
    world: World, seconds: float, faults: list[Fault] | None = None, say: Callable[[str], None] = print
) -> Counter[str]:
    """Break things for so long (or by each of `faults` once), end the feed, and return what the join has survived."""
    survived: Counter[str] = Counter()
    kinds, until = possible(world), time.monotonic() + seconds
    world.run(2.0)
    left = list(faults or ONCE)
    while (faults and left) or time.monotonic() < until:
        early = not faults and left and world.random.random() < 0.1
        fault = left.pop(0) if faults or early else world.random.choice(kinds)
        say(f"{time.strftime('%X')} {len(world.load.predictions):>8,} predictions; {fault.__doc__}")
        fault(world)
        survived[str(fault.__doc__)] += 1
        world.run(world.random.uniform(0.2, 0.8 if faults else 2.0))
    world.end()
    return survived


def main() -> int:
    """Run, and print what the join, or the loop, has survived."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--minutes", type=float, default=10.0)
    options.add_argument("--seed", type=int, default=free_port())
    options.add_argument("--malformed", type=int, default=2_000, help="events each time the dead letters are down")
    options.add_argument("--down-s", type=float, default=2.0, help="for how long they are down")
    options.add_argument("--store", choices=["one", "cluster", "both"], default="both")
    options.add_argument("--loop", action="store_true", help="the whole loop (chaos_loop.py)")
    options.add_argument("--registry", choices=["folder", "bucket", "both"], default="both", help="of the loop")
    arguments = options.parse_args()
    if arguments.loop:
        return chaos_loop.main(arguments.minutes, arguments.seed, arguments.registry)
    kafka, redis = (os.environ.get(f"SHADOWSTREAM_TEST_{name}_CMD") is not None for name in ("KAFKA", "REDIS"))
    console, survived, counts = Console(), Counter[str](), Counter[str]()
    console.print(f"seed {arguments.seed}, {arguments.minutes:g} minutes, {'external' if kafka else 'embedded'} broker")
    shares = {"one": ((False, 1.0),), "cluster": ((True, 1.0),), "both": ((False, 2 / 3), (True, 1 / 3))}
    for cluster, share in shares[arguments.store]:
        store = f"{'redis' if redis else 'valkey'}{' cluster' if cluster else ''}"
        folder = Path(tempfile.mkdtemp(prefix="chaos-"))
        try:
            with World(
                folder, arguments.seed, kafka=kafka, redis="redis" if redis else "valkey", cluster=cluster,
                malformed=arguments.malformed, down_s=arguments.down_s,
            ) as world:  # fmt: skip
                console.rule(f"{store}, emit {world.policy.emit}")
                survived += chaos(world, arguments.minutes * 60 * share)
                counts.update(verdict(world))
        except BaseException:
            console.print(f"failed with seed {arguments.seed}, {store}; all is in {folder}", style="bold red")
            raise
        shutil.rmtree(folder)
    _summary(console, survived, counts)
    return 0


def _summary(console: Console, survived: Counter[str], counts: Counter[str]) -> None:
    table = Table("fault", "survived")
    for fault, count in sorted(survived.items()):
        table.add_row(fault, str(count))
    table.add_section()
    table.add_row("all", str(survived.total()))
    console.print(table)
    for name in ("predictions", "samples", "lost", "doubled"):
        console.print(f"{counts[name]:,} {name}", end="; ")
    console.print("all equations hold; the verifier agrees")


if __name__ == "__main__":
    sys.exit(orderly(main, ENDS_S))
