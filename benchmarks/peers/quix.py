"""Quix Streams: `join_interval` of predictions with their outcomes within an hour, counted in its own callback."""

import logging

from quixstreams import Application
from quixstreams.models import TopicConfig
from tally import Tally

HOUR_MS = 3_600_000


def main() -> None:
    """Join until all pairs are joined."""
    tally = Tally()
    task = tally.task
    app = Application(
        broker_address=task["bootstrap"],
        consumer_group=task["group"],
        state_dir=f"{task['folder']}/state",
        auto_offset_reset="earliest",
        loglevel=logging.WARNING,
    )
    config = TopicConfig(num_partitions=task["partitions"], replication_factor=1)
    left, right = (
        app.dataframe(app.topic(task[side], key_deserializer="str", value_deserializer="json", config=config))
        for side in ("predictions", "outcomes")
    )
    left = left.update(lambda _: tally.begin())
    joined = left.join_interval(right, on_merge="keep-left", grace_ms=HOUR_MS, backward_ms=HOUR_MS, forward_ms=HOUR_MS)
    joined.update(lambda value: tally.joined(value["id"]))
    tally.await_go()
    app.run()


if __name__ == "__main__":
    main()
