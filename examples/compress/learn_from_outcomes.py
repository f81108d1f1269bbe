"""Step 4: learn from real outcomes, when they arrive. Flights from New York, in 2013.

Three copies of January's net predict each flight at its departure. One never learns. One learns from its own guesses:
its target is the outcome that it finds more likely, which is known at once and teaches it nothing new. One waits for
each flight to arrive, two hours or thirty, and learns what really happened. The table has the loss of the predictions
as they were made at departure.

    python examples/compress/learn_from_outcomes.py [--rows 100000]
"""

import argparse
import copy
from collections.abc import Sequence
from itertools import groupby
from typing import Any

import msgspec
import torch
from late import PIPELINE, Months, feed, january
from torch import Tensor

from deploy.learning.candidates import make_learner
from learners.online.networks.network import Network
from shadowstream import FeedEvent

# All that leaves within two hours is predicted together; then all that arrived in that time is learned.
SLICE_MS = 2 * 3_600_000
WAYS = ["never learns", "own guesses", "real outcomes"]


class Desk:
    """Predicts with all three nets, and trains two of them."""

    def __init__(self) -> None:
        learner, known = make_learner(PIPELINE), january()
        learner.study(known)
        self.students = [Network(copy.deepcopy(learner.teacher.model), PIPELINE.online) for _ in WAYS]
        self.months = Months(WAYS)
        self._flights: msgspec.json.Decoder[Any] = msgspec.json.Decoder(PIPELINE.features)
        self._waiting: dict[bytes, tuple[int, list[Tensor], Tensor]] = {}

    def depart(self, requests: Sequence[FeedEvent]) -> None:
        """Predict; the net that learns from its own guesses does so at once."""
        inputs = PIPELINE.encode([self._flights.decode(event.value) for event in requests])
        with torch.no_grad():
            logits = torch.cat([student.model(*inputs) for student in self.students], dim=1)
        self.students[1].learn(inputs, (logits[:, 1] > 0).float(), PIPELINE.task)
        for i, event in enumerate(requests):
            self._waiting[event.key] = event.t_ms, [t[i] for t in inputs], logits[i]

    def arrive(self, outcomes: Sequence[FeedEvent]) -> None:
        """Add up the losses of the earlier predictions, and learn from what happened."""
        target = torch.tensor([float(msgspec.json.decode(event.value)["label"]) for event in outcomes])
        left, rows, logits = zip(*(self._waiting.pop(event.key) for event in outcomes), strict=True)
        answers = torch.stack(logits)
        losses = torch.stack([PIPELINE.task.losses(answers[:, [i]], target) for i in range(len(WAYS))], 1)
        for t_ms, loss in zip(left, losses.tolist(), strict=True):
            self.months.add(t_ms, loss)
        self.students[2].learn(tuple(map(torch.stack, zip(*rows, strict=True))), target, PIPELINE.task)


def main(rows: int) -> None:
    """Print the losses by month."""
    desk = Desk()
    for _, events in groupby(feed(rows), key=lambda event: event.t_ms // SLICE_MS):
        both = list(events)
        if requests := [event for event in both if event.topic == "requests"]:
            desk.depart(requests)
        if outcomes := [event for event in both if event.topic == "outcomes"]:
            desk.arrive(outcomes)
    desk.months.show()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000, help="how many of the year's flights, evenly chosen")
    torch.set_num_threads(1)
    main(parser.parse_args().rows)
