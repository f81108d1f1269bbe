"""Pathway: a join by id of two Kafka inputs, counted in a subscription; its clock starts with `run`."""

from typing import Any

import pathway as pw
from tally import Tally

COMMIT_MS = 20  # how often an input passes its rows on; the default of 1,500 would dominate the latency


class Prediction(pw.Schema):
    """What is read of a prediction: its id (a column of that name is Pathway's own), and all features as one string."""

    key: str
    t: int
    features: str


class Outcome(pw.Schema):
    """What is read of an outcome."""

    key: str
    label: int


def main() -> None:
    """Join until all pairs are joined."""
    tally = Tally()
    settings = {
        "bootstrap.servers": tally.task["bootstrap"],
        "group.id": tally.task["group"],
        "auto.offset.reset": "earliest",
    }
    left, right = (
        pw.io.kafka.read(
            settings,
            topic=tally.task[side],
            schema=schema,
            format="json",
            json_field_paths={"key": "/id"},
            autocommit_duration_ms=COMMIT_MS,
        )
        for side, schema in (("predictions", Prediction), ("outcomes", Outcome))
    )
    joined = left.join(right, pw.left.key == pw.right.key)
    pairs = joined.select(key=pw.left.key, features=pw.left.features, label=pw.right.label)

    def on_change(key: Any, row: dict[str, Any], time: int, is_addition: bool) -> None:
        tally.joined(row["key"])

    pw.io.subscribe(pairs, on_change)
    tally.await_go()
    tally.begin()
    pw.run(monitoring_level=pw.MonitoringLevel.NONE)


if __name__ == "__main__":
    main()
