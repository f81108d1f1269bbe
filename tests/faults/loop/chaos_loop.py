"""Random faults on the whole loop under load: `make chaos LOOP=1 MINUTES=10 SEED=7`.

At the end nothing may be lost or doubled, and no gap in serving longer than its fault allows. The seed decides which
faults come, and how; the machine's timing is its own. Half of the time the registry is a folder, then a bucket.
"""

import os
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.faults.loop.loop_breaks import LONGEST_OTHERS_S, LONGEST_S, UNBOUNDED, Fault, possible, weight
from tests.faults.loop.loop_world import LoopWorld

RATE = 100.0  # events a second
Gaps = dict[Fault, list[float]]


def _say(line: str) -> None:
    print(line, flush=True)


def chaos(
    world: LoopWorld,
    seconds: float,
    faults: Sequence[Fault] = (),
    say: Callable[[str], None] = _say,
) -> tuple[Gaps, dict[str, int]]:
    """Break things for so long (or by each of `faults` once); return the longest gaps, and the verdict's counts."""
    gaps: Gaps = {}
    kinds, until = possible(world), time.monotonic() + seconds
    left = list(faults) or world.random.sample(kinds, len(kinds))  # each once, as far as the time goes
    world.serves()
    while left if faults else time.monotonic() < until:
        fault = left.pop(0) if left else world.random.choices(kinds, list(map(weight, kinds)))[0]
        world.answers.mark()
        fault(world)
        world.serves()
        world.whole()
        gap_s = world.answers.mark()
        gaps.setdefault(fault, []).append(gap_s)
        say(f"{time.strftime('%X')} {world.load.predictions:>7,} requests; {fault.__doc__} {gap_s:.1f} s")
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


def main(minutes: float, seed: int, registry: str) -> int:
    """Run, and print what the loop has survived; `registry` is "folder", "bucket" or "both"."""
    kafka, redis = (os.environ.get(f"SHADOWSTREAM_TEST_{name}_CMD") is not None for name in ("KAFKA", "REDIS"))
    console, gaps, counts = Console(), dict[Fault, list[float]](), Counter[str]()
    console.print(f"seed {seed}, {minutes:g} minutes, {'external' if kafka else 'embedded'} broker and store")
    kinds = ("folder", "bucket") if registry == "both" else (registry,)
    for kind in kinds:
        folder = Path(tempfile.mkdtemp(prefix="chaos-loop-"))
        console.rule(f"the registry: a {kind}")
        try:
            with LoopWorld(
                folder, seed, RATE, kafka=kafka, redis="redis" if redis else "valkey", bucket=kind == "bucket"
            ) as world:
                found, counted = chaos(world, minutes * 60 / len(kinds))
        except BaseException:
            console.print(f"failed with seed {seed}; all is in {folder}", style="bold red")
            raise
        shutil.rmtree(folder)
        counts.update(counted)
        for fault, of in found.items():
            gaps.setdefault(fault, []).extend(of)
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
