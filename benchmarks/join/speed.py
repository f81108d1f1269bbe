"""Speed and latency of every row, in turn (A B C, A B C): medians, and the median of the rounds' ratios.

Owns the two measurements and their arithmetic. Does not know how a row runs.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.join import events
from benchmarks.join.contenders import ONE, QUIX, RAW, ROOT, ROWS, Arena, Failed, Result, Row, why_not
from benchmarks.join.ours import DEAD
from deploy.embedded.servers import Service
from streams.kafka import ensure_topics

SETTLE_S = 5.0  # from "go" to the first paced event: in this time consumer groups form and peers create their topics
WARM_S = 2.0  # latencies of the first paced events are not counted


class Bench(NamedTuple):
    """What to measure, and with what; `partitions` is the number of each topic's."""

    broker: Service
    redis_cmd: str | None
    peers_python: str | None
    pairs: int
    sizes_bytes: tuple[int, ...]
    rounds: int
    paced_a_second: int
    paced_s: float
    only: tuple[str, ...] = ()
    partitions: int = 2


def run(bench: Bench) -> dict[str, Any]:
    """Measure all rows at all sizes."""
    ensure_topics(bench.broker.address, {DEAD: 1})
    wanted = [row for row in ROWS if not bench.only or any(word in row.name for word in bench.only)]
    skipped = {row.name: why for row in wanted if (why := why_not(row, bench.peers_python))}
    rows = [row for row in wanted if row.name not in skipped]
    sizes = {str(size): _size(bench, rows, size, skipped) for size in bench.sizes_bytes}
    return {"pairs": bench.pairs, "rounds": bench.rounds, "sizes_bytes": sizes, "skipped": skipped}


def _size(bench: Bench, rows: list[Row], size_bytes: int, skipped: dict[str, str]) -> dict[str, Any]:
    runs: dict[str, list[Result]] = {row.name: [] for row in rows}
    delays: dict[str, list[float]] = {row.name: [] for row in rows}
    task = _topics(bench, bench.pairs)
    items = events.pairs(bench.pairs, size_bytes, int(time.time() * 1_000) - bench.pairs)
    events.fill(bench.broker.address, (task["predictions"], task["outcomes"]), bench.partitions, items)
    _say(f"{size_bytes} bytes: {bench.pairs:,} pairs are published")
    for _ in range(bench.rounds):
        for row in rows:
            try:
                runs[row.name].append(one := _throughput(_arena(bench, task), row))
                _say(f"{size_bytes} bytes, {row.name}: {one.events_a_second:,.0f} events/s, {one.us_an_event:.2f} us")
                delays[row.name] += _latencies(bench, row, size_bytes)
            except Failed as wrong:
                skipped[f"{row.name}, {size_bytes} bytes"] = str(wrong)
    return {row.name: _summary(row, runs, delays[row.name]) for row in rows if runs[row.name]}


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _topics(bench: Bench, pairs: int) -> dict[str, Any]:
    name = uuid.uuid4().hex[:8]
    sides = {"predictions": f"{name}-predictions", "outcomes": f"{name}-outcomes"}
    ensure_topics(bench.broker.address, dict.fromkeys(sides.values(), bench.partitions))
    return {"bootstrap": bench.broker.address, "partitions": bench.partitions, "pairs": pairs, **sides}


def _arena(bench: Bench, task: dict[str, Any]) -> Arena:
    return Arena(task, bench.broker, bench.redis_cmd, bench.peers_python)


def _throughput(arena: Arena, row: Row) -> Result:
    with arena.running(row, watch=False) as crew:
        crew.go()
        return crew.result()


def _latencies(bench: Bench, row: Row, size_bytes: int) -> list[float]:
    """Return each pair's latency in ms: from the sending of its later event to its sample."""
    task = _topics(bench, int(bench.paced_a_second * bench.paced_s / 2))
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        load = task | {"size_bytes": size_bytes, "events_a_second": bench.paced_a_second, "file": file.name}
        with _arena(bench, task).running(row, watch=True) as crew:
            crew.go()
            time.sleep(SETTLE_S)
            subprocess.run([sys.executable, "-m", "benchmarks.join.events", json.dumps(load)], check=True, cwd=ROOT)
            return list(_delays_ms(crew.result(), json.loads(Path(file.name).read_text())))


def _delays_ms(result: Result, sent: dict[str, float]) -> Iterable[float]:
    warm = min(sent.values()) + WARM_S
    return ((result.seen[name] - at) * 1_000 for name, at in sent.items() if at >= warm)


def _summary(row: Row, runs: dict[str, list[Result]], delays_ms: list[float]) -> dict[str, Any]:
    rates = {name: [run.events_a_second for run in of] for name, of in runs.items()}
    own = rates[row.name]
    cuts = statistics.quantiles(delays_ms, n=100) if len(delays_ms) > 1 else [float("nan")] * 99

    def times(other: Row) -> float | None:
        others = rates.get(other.name)
        return statistics.median(a / b for a, b in zip(own, others, strict=False)) if others else None

    return {
        "events_a_second": statistics.median(own),
        "all_events_a_second": own,
        "us_an_event": statistics.median(run.us_an_event for run in runs[row.name]),
        "times_raw": times(RAW._replace(cores=row.cores)),
        "times_one": times(ONE),
        "times_quix": times(QUIX),
        "p50_ms": cuts[49],
        "p99_ms": cuts[98],
    }
