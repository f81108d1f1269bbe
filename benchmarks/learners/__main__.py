"""How well learners answer real streams whose outcomes come late: ours and peers, in one run.

    python -m benchmarks.learners --data FOLDER --peers-python PATH

Each row of a table learns from the stream's events in their order, and knows only what had landed; all have the same
fields. FOLDER holds what packages do not: hotel-bookings/, gitbugs-hadoop/, ulb-creditcard-sample/ and elec2/elec.csv
(sources in benchmarks/learners/feeds.py); a stream that is not there is named and left out. The peers live in an
environment of their own (benchmarks/requirements.txt).

Owns the command line and the tables. Does not know how anybody learns.
"""

import argparse
import json
import os
import pickle
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from benchmarks.learners.feeds import STREAMS, Missing, Stream, after, kinds
from benchmarks.peers.replay import NEVER_MS

OURS = {
    "constant": "share of the last 1,000 outcomes",
    "deep": "a small network",
    "nag": "adaptive steps, alone",
    "w4": "Gaussian weights, alone",
    "chain": "hazard chain, alone",
    "live": "this project's live experts",
    "plain": "a pipeline of its features alone",
}
PEERS = {
    "river": "River logistic regression",
    "river-tree": "River Hoeffding adaptive tree",
    "river-forest": "River adaptive random forest",
    "deep-river": "deep-river, 64 hidden",
    "vw": "Vowpal Wabbit",
    "vw-crosses": "Vowpal Wabbit, -q cc -q cn",
    "lightgbm": "LightGBM, anew each week",
}
LIMIT_S = 3_600.0


def main() -> None:
    """Measure; print a table a stream for people, then one JSON line for programs."""
    asked = _arguments()
    found: dict[str, Any] = {}
    for name in asked.streams:
        try:
            stream = after(STREAMS[name](asked.data), asked.after)
        except Missing as missing:
            print(f"not measured: {name}: {missing}")
            continue
        with tempfile.TemporaryDirectory(prefix="learners-") as folder:
            found[name] = _measure(name, stream, asked, Path(folder))
        _show(stream, found[name])
    machine = {"cores": os.cpu_count(), "processor": platform.processor() or platform.machine()}
    print(json.dumps({"benchmark": "learners", "machine": machine, "streams": found}))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.learners", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--data", type=Path, help="the folder of the streams that no package holds")
    parser.add_argument("--peers-python", help="an interpreter that has benchmarks/requirements.txt")
    parser.add_argument("--streams", nargs="+", default=list(STREAMS), choices=STREAMS)
    parser.add_argument("--only", nargs="+", default=[*OURS, *PEERS], choices=[*OURS, *PEERS])
    parser.add_argument(
        "--after",
        type=int,
        default=0,
        metavar="N",
        help="rows count that were asked after N outcomes; 0: after history",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the network; all others draw no random numbers")
    return parser.parse_args()


def _measure(name: str, stream: Stream, asked: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Return each contender's scores, or why it has none; each runs in a process of its own, on one thread."""
    found: dict[str, Any] = {}
    data = ["--data", str(asked.data)] if asked.data else []
    ours = [*data, "--logits", str(folder / "logits.npy"), "--seed", str(asked.seed)]
    ours += ["--after", str(asked.after)]
    chosen = [one for one in OURS if one in asked.only or (one == "deep" and "live" in asked.only)]
    for one in chosen:
        found[one] = _run([sys.executable, "-m", "benchmarks.learners.live", one, name, *ours])
    peers = [one for one in PEERS if one in asked.only] if asked.peers_python else []
    if peers:
        (folder / "columns").write_bytes(pickle.dumps(_columns(stream)))
    for one in peers:
        script = Path(__file__).parents[1] / "peers" / "learners.py"
        found[one] = _run([asked.peers_python, str(script), one, str(folder / "columns")])
    return found


def _columns(stream: Stream) -> tuple[Any, ...]:
    """Return a stream as peers read it, without our types."""
    rows = [msgspec.structs.astuple(row) for row in stream.rows]
    return kinds(type(stream.rows[0])), rows, stream.t_ms, stream.known_ms, stream.labels, stream.live


def _run(command: list[str]) -> dict[str, Any]:
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, env=os.environ | threads)
    lines = (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines()
    return json.loads(lines[-1]) if done.returncode == 0 else {"failed": lines[-1] if lines else "it printed nothing"}


def _show(stream: Stream, found: dict[str, Any]) -> None:
    told = sum(ms < NEVER_MS for ms in stream.known_ms[stream.live :])
    delays = f"; delays simulated: {stream.simulated}" if stream.simulated else ""
    table = Table(title=f"{stream.name}: {told:,} live outcomes{delays}")
    for n, head in enumerate(["", "log loss", "AUC", "mean p / mean y", "samples a second", "MB more"]):
        table.add_column(head, justify="right" if n else "left")
    for name, of in found.items():
        title = (OURS | PEERS)[name]
        if "failed" in of:
            table.add_row(title, of["failed"])
            continue
        costs = f"{of['samples_a_second']:,.0f}", f"{of['grown_mb']:,.0f}"
        table.add_row(title, f"{of['log_loss']:.4f}", f"{of['auc']:.4f}", f"{of['p_over_y']:.2f}", *costs)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
