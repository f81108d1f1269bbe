"""What the log tells the live experts of entries that are held: when outcomes came, and nothing else."""

import msgspec

from learners.labels.holds import Hold
from learners.live.held import Told, Unsaid, Waits
from learners.online.log import told
from streams.events import CORRECTION, NEGATIVE, WAITING
from tests import small


def test_of_what_is_held_only_the_time_of_first_outcomes_is_told() -> None:
    one = small.samples(1)[0]
    kinds = ("joined", NEGATIVE, CORRECTION, WAITING)
    log = [msgspec.structs.replace(one, kind=kind, label_t=one.t + at) for at, kind in enumerate(kinds * 2)]
    held = [Hold(at, "north", "why") for at in range(4)]
    found = list(told(log, list(range(8)), [0.5, 0.6, 0.7], held, experts=2))
    assert found[:2] == [Unsaid(one.t, one.t), Unsaid(one.t, one.t + 1)]
    assert [type(event) for event in found[2:]] == [Told, Told, Told, Waits]
    assert [event.weight for event in found[2:5] if isinstance(event, Told)] == [0.5, 0.6, 0.7]
    assert [event.asked.row for event in found[2:] if not isinstance(event, Unsaid)] == [4, 5, 6, 7]
