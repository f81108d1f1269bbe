"""What a committed sample takes on the disk, and how long its commit is written, sealed and read: files, then objects.

Owns the table. `python -m benchmarks.record [--registry FEED] [--data FOLDER]`: the commits of a feed's folder, or of
flights of January, 64 samples each. *Files* is what earlier releases kept, a commit's JSON in a file, read without a
check. `--data` is where they are written; what `fsync` takes there is in the times.
"""

import argparse
import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from msgspec import Raw
from rich.console import Console
from rich.table import Table

from benchmarks.learning import FLIGHTS, entries_of
from deploy.pipeline import load
from deploy.registry import storage
from deploy.registry.log.log import Log
from deploy.registry.log.sealer import COMMITS, Sealer
from deploy.registry.log.segments import LOG, old_name, tail_name
from learners.commits.commit import Commit, Run, decode, encode

SIZE, SHADOW = 64, 0.123456789
NAMES = 50_000


def main() -> None:
    """Measure; print a table for people, then one JSON line for programs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--registry", type=Path)
    parser.add_argument("--data", type=Path)
    asked = parser.parse_args()
    lines = kept(asked.registry) if asked.registry else commits()
    with tempfile.TemporaryDirectory(dir=asked.data) as folder:
        found = measured(Path(folder), lines)
    table = Table("", "bytes a sample", "written, µs", "sealed, µs", "read, µs")
    for name, (size, *times) in found["a_sample"].items():
        table.add_row(name, f"{size:.1f}", *(f"{us:.1f}" if us else "–" for us in times))
    Console().print(table)
    listed, probed = found["listed_ms"], found["probed_ms"]
    Console().print(f"The last of {NAMES:,} names: {listed:.0f} ms by listing, {probed:.0f} ms by asking for each")
    print(json.dumps({"benchmark": "record", **found}))


def kept(folder: Path) -> list[bytes]:
    """Return the commits of a feed."""
    log = Log(storage.Disk(folder))
    return [line for number in range(log.newest() + 1) if (line := log.read(number))]


def commits() -> list[bytes]:
    """Return commits that follow each other."""
    samples, made = entries_of(load(FLIGHTS)), list[bytes]()
    for number, at in enumerate(range(0, len(samples), SIZE)):
        part = samples[at : at + SIZE]
        made.append(
            encode(
                Commit(
                    number=number, parent=hashlib.sha256(made[-1]).hexdigest() if made else "", learned=at + len(part),
                    samples=[Raw(one) for one in part], runs=[Run(0, at + 1, len(part))], batches=[32, 32],
                    shadow=[[SHADOW / (1 + n)] for n in range(len(part))], intercept=(0.1,), positions={"0": f"{at}-1"},
                    watermark_ms=at, latest_ms=at, fingerprint="torch, numba, Python",
                )
            )
        )  # fmt: skip
    return made


def measured(folder: Path, lines: list[bytes]) -> dict[str, dict[str, tuple[float, ...]] | float]:
    """Return bytes and µs a sample by way of keeping, and how long the last of many names is looked for."""
    samples = sum(len(decode(line).samples) for line in lines)
    ways = {"files": _files(folder, lines), **_objects(folder, lines)}
    listed, probed = _names(folder)
    return {
        "a_sample": {name: tuple(figure / samples for figure in found) for name, found in ways.items()},
        "listed_ms": listed,
        "probed_ms": probed,
    }


def _files(folder: Path, lines: list[bytes]) -> tuple[float, ...]:
    files = [folder / old_name(n) for n in range(len(lines))]
    files[0].parent.mkdir()
    written = _us(lambda: [storage.create(path, line) for path, line in zip(files, lines, strict=True)])
    read = _us(lambda: [storage.read(path) for path in files])
    shutil.rmtree(files[0].parent)
    return sum(map(len, lines)), written, 0.0, read


def _objects(folder: Path, lines: list[bytes]) -> dict[str, tuple[float, ...]]:
    """Write commits as a learner does, with a sealer that looks whenever so many are there that it has to seal."""
    disk = storage.Disk(folder)
    log, sealer = Log(disk), Sealer(disk)
    size = written = read_alone = sealed = 0.0
    for at in range(0, len(lines), COMMITS):
        part = range(at, min(at + COMMITS, len(lines)))
        written += _us(lambda part=part: [log.create(n, lines[n]) for n in part])
        size += sum((folder / tail_name(n)).stat().st_size for n in part)
        read_alone += _us(lambda part=part: [*map(Log(disk).read, part)])
        sealed += _us(lambda: [*iter(sealer.step, False)])
    read = _us(lambda: [*map(Log(disk).read, range(len(lines)))])
    in_segments = sum((folder / name).stat().st_size for name in disk.list(LOG))
    share = len(lines) / (log.sealed() + 1)
    return {"tail": (size, written, 0.0, read_alone), "log": (in_segments * share, 0.0, sealed, read)}


def _us(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return 1e6 * (time.perf_counter() - began)


def _names(folder: Path) -> tuple[float, float]:
    """Return how many ms it takes to find the last of many files, by a listing and by asking for each."""
    for n in range(NAMES):
        (folder / f"{n:08}.json").touch()
    began = time.perf_counter()
    storage.names(folder)
    listed = time.perf_counter()
    n = 0
    while (folder / f"{n:08}.json").exists():
        n += 1
    return 1e3 * (listed - began), 1e3 * (time.perf_counter() - listed)


if __name__ == "__main__":
    main()
