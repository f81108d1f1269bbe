"""Bytewax: two keyed Kafka inputs, `join` with `complete`, counted in its own sink; recovery is off."""

import json
from typing import Any

import bytewax.operators as op
from bytewax.connectors.kafka import operators as kop
from bytewax.dataflow import Dataflow
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.testing import run_main
from tally import Tally


class Counting(StatelessSinkPartition[Any]):
    """Counts what was joined."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally

    def write_batch(self, items: list[Any]) -> None:
        """Count each item."""
        for key, _ in items:
            self._tally.joined(key)


class Count(DynamicSink[Any]):
    """Makes each worker's counting sink."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally

    def build(self, step_id: str, worker_index: int, worker_count: int) -> Counting:
        """Make a worker's sink."""
        return Counting(self._tally)


def main() -> None:
    """Join until all pairs are joined."""
    tally = Tally()
    flow = Dataflow("join")

    def keyed(message: Any) -> tuple[str, Any]:
        tally.begin()
        return message.key.decode(), json.loads(message.value)

    sides = []
    for side in ("predictions", "outcomes"):
        read = kop.input(side, flow, brokers=[tally.task["bootstrap"]], topics=[tally.task[side]])
        sides.append(op.map(f"{side}_keyed", read.oks, keyed))
    op.output("count", op.join("join", *sides, emit_mode="complete"), Count(tally))
    tally.await_go()
    run_main(flow)


if __name__ == "__main__":
    main()
