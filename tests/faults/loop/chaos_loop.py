"""Random faults on the whole loop under load: `make chaos LOOP=1 MINUTES=10 SEED=7`.

At the end nothing may be lost or doubled, and no gap in serving longer than its fault allows. The seed decides which
faults come, and how; the machine's timing is its own.
"""

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.faults.loop.loop_breaks import ALL, LONGEST_OTHERS_S, LONGEST_S, OF_KAFKA, UNBOUNDED, Fault
from tests.faults.loop.loop_world import LoopWorld

RATE = 100.0  # events a second
Gaps = dict[Fault, list[float]]


def chaos(
    world: LoopWorld, seconds: float, faults: Sequence[Fault] = (), say: Callable[[str], None] = print
) -> tuple[Gaps, dict[str, int]]:
    """Break things for so long (or by each of `faults` once); return the longest gaps, and the verdict's counts."""
    gaps: Gaps = {}
    kinds = ALL + (OF_KAFKA if hasattr(world.broker, "restart") else ())
    left, until = list(faults), time.monotonic() + seconds
    world.serves()
    while left or (not faults and time.monotonic() < until):
        fault = left.pop(0) if left else world.random.choice(kinds)
        world.answers.mark()
        fault(world)
        world.serves()
        gap_s = world.answers.mark()
        gaps.setdefault(fault, []).append(gap_s)
        say(f"{time.strftime('%X')} {world.load.predictions:>7,} requests; {fault.__doc__} {gap_s:.1f} s")
        world.whole()
        world.go_on(world.random.uniform(0.2, 2.0))
    return gaps, world.verdict()


def late(gaps: Gaps) -> list[str]:
    """Return the faults by which nothing was answered for longer than it may be."""
    longest = {fault: (max(of), LONGEST_S.get(fault, LONGEST_OTHERS_S)) for fault, of in gaps.items()}
    return [
        f"{fault.__doc__} {gap_s:.1f} s, at most {most_s:g}"
        for fault, (gap_s, most_s) in longest.items()
        if gap_s > most_s and fault not in UNBOUNDED
    ]


def main(minutes: float, seed: int) -> int:
    """Run, and print what the loop has survived."""
    kafka, redis = (os.environ.get(f"SHADOWSTREAM_TEST_{name}_CMD") is not None for name in ("KAFKA", "REDIS"))
    console, folder = Console(), Path(tempfile.mkdtemp(prefix="chaos-loop-"))
    console.print(f"seed {seed}, {minutes:g} minutes, {'external' if kafka else 'embedded'} broker and store")
    try:
        with LoopWorld(folder, seed, RATE, kafka=kafka, redis="redis" if redis else "valkey") as world:
            gaps, counts = chaos(world, minutes * 60)
    except BaseException:
        console.print(f"failed with seed {seed}; all is in {folder}", style="bold red")
        raise
    shutil.rmtree(folder)
    console.print(table(gaps))
    console.print("; ".join(f"{count:,} {name}" for name, count in counts.items()), "; the audit balances", sep="")
    for line in (told := late(gaps)):
        console.print(line, style="bold red")
    return 1 if told else 0


def table(gaps: Gaps) -> Table:
    """Lay out how often each fault came, and the longest gap in serving."""
    shown = Table("fault", "survived", "longest gap in serving, s")
    for fault, of in sorted(gaps.items(), key=lambda one: str(one[0].__doc__)):
        shown.add_row(fault.__doc__, str(len(of)), f"{max(of):.1f}")
    shown.add_section()
    shown.add_row("all", str(sum(map(len, gaps.values()))), f"{max(map(max, gaps.values())):.1f}")
    return shown
