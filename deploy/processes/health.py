"""Whether a role's process is well: what it waits for, and whether it hangs, so that it must be started again.

Owns the limits, the count of new starts, and the words. Does not know Ray: its answers arrive here.
"""

import os
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from deploy.processes.loop import Health

# How long a role may be silent, and how long one of its steps may take. A process that compiles, or runs a large model,
# is silent for seconds. A distillation is one step: it has no limit.
SILENT_S = {"server": 4.0}
SILENT_OTHERS_S = 60.0
STEP_S = {"server": 60.0, "distiller": float("inf")}
STEP_OTHERS_S = 600.0
LOOK_S = 1.0  # most that counts of the time between two looks: the looker may have stood still itself


class Process(NamedTuple):
    """Where a role runs, and its process id there."""

    host: str
    pid: int

    @classmethod
    def own(cls) -> "Process":
        """Return the one that asks."""
        return cls(socket.gethostname(), os.getpid())


class LookedAfter:
    """One role's process, as it answers when it is asked how it is.

    `process` and `health` are its last answer, a process 0 until there is one; `starts` counts how often it was started
    again.
    """

    def __init__(self, role: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._role, self._kind, self._clock = role, role.partition("-")[0], clock
        self.process, self.health = Process("", 0), Health()
        self._silent_s = 0.0
        self._looked_s = self._began_s = clock()
        self.starts = 0

    @property
    def lived_s(self) -> float:
        """How long ago it first answered; 0 if it has not."""
        return self._clock() - self._began_s if self.process.pid else 0.0

    @property
    def absent_s(self) -> float:
        """How long it has been begun, or ended here, without an answer since; 0 once it answers."""
        return 0.0 if self.process.pid else self._clock() - self._began_s

    @property
    def line(self) -> str:
        """What people must know of it, "" where it is well."""
        waits_for, restarted = self.health.waits_for, self._restarted
        if why := self._why():
            return f"{self._role} hangs: {why}; it is started again{restarted}"
        if waits_for:
            return f"{self._role} waits since {self.health.waits_s:.0f} s: {waits_for}{restarted}"
        return f"{self._role}{restarted}" if restarted else ""

    def answered(self, process: Process, health: Health) -> None:
        """Take an answer."""
        if not self.process.pid:
            self._began_s = self._clock()
        self.process, self.health, self._silent_s = process, health, 0.0

    def begun(self) -> None:
        """Take note that its process is started."""
        self._forget()

    def begun_again(self) -> None:
        """Take note that another process is started for it."""
        self.starts += 1
        self._forget()

    def hangs(self) -> bool:
        """Return whether it does, as of this look; one that has not begun does not."""
        now_s = self._clock()
        self._silent_s += min(LOOK_S, now_s - self._looked_s) if self.process.pid else 0.0
        self._looked_s = now_s
        return bool(self._why())

    def end(self, kill: Callable[[], None]) -> None:
        """End its process: on this machine by a signal, which a stopped one hears, too, elsewhere by `kill`."""
        if self.process.host == socket.gethostname():
            with suppress(ProcessLookupError):
                os.kill(self.process.pid, signal.SIGKILL)
        else:
            kill()
        self._forget()

    def _forget(self) -> None:
        self.process, self.health, self._silent_s = Process("", 0), Health(), 0.0
        self._began_s = self._clock()

    @property
    def _restarted(self) -> str:
        return f" (started again {self.starts}×)" if self.starts else ""

    def _why(self) -> str:
        if self._silent_s > SILENT_S.get(self._kind, SILENT_OTHERS_S):
            return f"it has not answered for {self._silent_s:.0f} s"
        if self.health.step_s > STEP_S.get(self._kind, STEP_OTHERS_S):
            return f"one step of it takes {self.health.step_s:.0f} s"
        return ""
