"""A run's pulse: how each role's process is and how far serving and learning lag, for those who look from elsewhere.

Owns the note's fields. Ages are by the clock of the run's own process. Does not know how they are measured.
"""

from msgspec import Struct


class RolePulse(Struct, frozen=True, kw_only=True):
    """One role: where its process is (0: it has not answered yet), and how often it was started again.

    `waits_for` says what it waits for since `waits_s` seconds, "" where it does not; `trouble` is the line that people
    see, "" where all is well.
    """

    role: str
    host: str
    pid: int
    starts: int = 0
    waits_for: str = ""
    waits_s: float = 0.0
    trouble: str = ""


class PulseNote(Struct, frozen=True, kw_only=True):
    """A run at a moment, `at_ms` by the store's clock.

    `requests_unread` and `outcomes_unread` wait in the log for the server and the joiners, None until the broker has
    said where the log ends. `commit_s` is how long ago the run saw a new commit, None until it has seen one. `trouble`
    has a line for each service or role that is waited for.
    """

    at_ms: int = 0
    roles: list[RolePulse] = []
    requests_unread: int | None = None
    outcomes_unread: int | None = None
    commit_s: float | None = None
    trouble: tuple[str, ...] = ()
