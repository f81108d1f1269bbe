"""A run's pulse: what is unread by the log's ends, how old the newest commit is, and what others read of it."""

import pytest

from deploy.monitor import Progress
from deploy.registry.kinds import PULSE
from deploy.registry.notes import LearnerNote, ServerNote
from deploy.registry.pulse import PulseNote, RolePulse
from deploy.run.pulse import Pulse
from streams.join.store import Store
from streams.kafka import Tp

ROLE = RolePulse(role="learner", host="here", pid=7, starts=2, waits_for="the store", waits_s=12.0, trouble="…")


def progress(read: int, commit: int) -> Progress:
    server, learner = ServerNote({"a.requests:0": read}, {}, 0, read), LearnerNote(0, (0.0,), {}, commit, 0)
    return Progress([], server, learner, None, None, None)


def test_a_pulse_says_what_is_unread_and_is_read_from_elsewhere(embedded_store: Store) -> None:
    pulse = Pulse("pulsed", embedded_store, "a.requests", "a.outcomes")
    ends = {Tp("a.requests", 0): 3_007, Tp("a.requests", 1): 5, Tp("a.outcomes", 0): 40, Tp("a.predictions", 0): 9}
    now = pulse.take(progress(read=7, commit=3), ends, [ROLE], ["learner waits"])
    assert (now.requests_unread, now.outcomes_unread, now.roles) == (3_005, 40, [ROLE])
    noted = PULSE.read(*embedded_store.get("pulsed", PULSE.name))
    assert noted is not None
    assert abs(noted.at_ms - embedded_store.now_ms()) < 60_000
    assert (noted.requests_unread, noted.roles, noted.trouble) == (3_005, [ROLE], ("learner waits",))


def test_a_commit_s_age_begins_with_the_commit_and_nothing_is_known_before_the_broker_has_said(
    embedded_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = [100.0]
    monkeypatch.setattr("deploy.run.pulse.time.monotonic", lambda: now_s[0])
    pulse, ages = Pulse("aged", embedded_store, "a.requests", "a.outcomes"), list[float | None]()
    assert pulse.take(None, {}, [], []) == PulseNote()
    for commit in (3, 3, 4):
        ages.append(pulse.take(progress(0, commit), {}, [], []).commit_s)
        now_s[0] += 7
    assert ages == [0.0, 7.0, 0.0]
