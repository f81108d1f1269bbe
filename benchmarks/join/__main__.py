"""How fast the join is: compared with raw polls and its peers, with many predictions waiting, and with hostile events.

    python -m benchmarks.join --peers-python PATH      events a second and latency; a table, then one JSON line
    python -m benchmarks.join --growth                 cost and memory with 10^4 to 10^7 predictions waiting
    python -m benchmarks.join --hostile                a million hostile events in a good feed

The peers live in an environment of their own (benchmarks/requirements.txt). A peer's sample counts as joined once the
peer's own process sees it; ours once another process can read it from the store, synced to disk.

Owns the command line and the tables. Does not know how anything is measured.
"""

import argparse
import json
import os
import platform
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.join import growth, speed
from deploy.embedded.servers import Service, start_broker

NOTHING = "-"


def main() -> None:
    """Measure what was asked for; print tables for people, then one JSON line for programs."""
    arguments = _arguments()
    machine = {"cores": os.cpu_count(), "processor": platform.processor() or platform.machine()}
    with tempfile.TemporaryDirectory(prefix="join-", ignore_cleanup_errors=True) as folder:
        result = _growth(arguments, Path(folder)) if arguments.growth else _with_broker(arguments, Path(folder))
    print(json.dumps({"benchmark": "join", "machine": machine, **result}))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.join", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--growth", action="store_true")
    parser.add_argument("--hostile", action="store_true")
    parser.add_argument("--kafka-cmd", default=os.environ.get("SHADOWSTREAM_TEST_KAFKA_CMD"))
    parser.add_argument("--redis-cmd", default=os.environ.get("SHADOWSTREAM_TEST_REDIS_CMD"))
    parser.add_argument("--peers-python", help="an interpreter that has benchmarks/requirements.txt")
    parser.add_argument("--pairs", type=int, default=200_000)
    parser.add_argument("--sizes-bytes", type=int, nargs="+", default=[200, 1_000], help="of a prediction")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--paced-a-second", type=int, default=2_000, help="events, while latency is measured")
    parser.add_argument("--paced-s", type=float, default=15.0)
    parser.add_argument("--only", nargs="+", default=[], help="only rows whose titles contain one of these words")
    parser.add_argument("--waiting", type=int, nargs="+", default=[10**n for n in (4, 5, 6, 7)], help="for --growth")
    parser.add_argument("--payload-bytes", type=int, default=40, help="for --growth")
    parser.add_argument("--hostile-events", type=int, default=1_000_000)
    return parser.parse_args()


def _with_broker(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    servers = {"broker": _kind(arguments.kafka_cmd, "--kafka-cmd"), "store": _kind(arguments.redis_cmd, "--redis-cmd")}
    with start_broker(folder, arguments.kafka_cmd) as broker:
        if arguments.hostile:
            from benchmarks import hostile  # noqa: PLC0415 its events are the tests', which an installation lacks

            result = hostile.run(
                broker, arguments.redis_cmd, arguments.pairs, arguments.hostile_events, arguments.rounds
            )
            _show("Hostile events", ["feed", *result["mixed"]], [[k, *result[k].values()] for k in ("clean", "mixed")])
        else:
            result = speed.run(_bench(arguments, broker))
            _show_speed(result)
    print(f"broker: {servers['broker']}; store: {servers['store']}")
    return servers | result


def _kind(command: str | None, option: str) -> str:
    return f"the command {Path(command.split()[0]).name}" if command else f"the embedded one (no {option})"


def _bench(arguments: argparse.Namespace, broker: Service) -> speed.Bench:
    return speed.Bench(
        broker=broker,
        redis_cmd=arguments.redis_cmd,
        peers_python=arguments.peers_python,
        pairs=arguments.pairs,
        sizes_bytes=tuple(arguments.sizes_bytes),
        rounds=arguments.rounds,
        paced_a_second=arguments.paced_a_second,
        paced_s=arguments.paced_s,
        only=tuple(arguments.only),
    )


def _show_speed(result: dict[str, Any]) -> None:
    for size, rows in result["sizes_bytes"].items():
        heads = ["", "events/s", "cpu us", "x raw poll()", "x one joiner", "x Quix", "p50 ms", "p99 ms"]
        keys = ("events_a_second", "us_an_event", "times_raw", "times_one", "times_quix", "p50_ms", "p99_ms")
        _show(f"{size} bytes a prediction", heads, [[title, *(row[k] for k in keys)] for title, row in rows.items()])
    for title, why in result["skipped"].items():
        print(f"not measured: {title}: {why}")


def _growth(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    result = growth.run(folder, arguments.redis_cmd, arguments.waiting, arguments.payload_bytes)
    heads = ["waiting", "open us", "join us", "close us", "bytes an entry"]
    rows = [list(cost.values()) for cost in result["costs"]]
    _show("Growth", heads, [*rows, ["most / least", *result["most_to_least"].values(), None]])
    print(f"bound: {result['bound_bytes']} bytes an entry (twice the payload of {result['payload_bytes']}, plus 120)")
    store = _kind(arguments.redis_cmd, "--redis-cmd")
    print(f"store: {store}")
    return {"store": store, "growth": result}


def _show(title: str, heads: list[str], rows: list[list[Any]]) -> None:
    table = Table(title=title)
    for n, head in enumerate(heads):
        table.add_column(head, justify="right" if n else "left")
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    Console(width=120).print(table)


def _cell(value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return NOTHING
    return f"{value:,.0f}" if abs(value) >= 1_000 or isinstance(value, int) else f"{value:.2f}"


if __name__ == "__main__":
    main()
