"""One role that is looked after: its actor, the call of its `run`, and how it has fared.

Owns asking it how it is, and ending a process that hangs. Does not know what becomes of a role that has ended.
"""

import logging
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

import ray
from ray.exceptions import RayError

from deploy.processes.health import LookedAfter
from deploy.processes.restarts import AT_ONCE_S, HELD_S, Restarts
from deploy.registry.pulse import RolePulse
from deploy.serving.share import Order

UNPLACED_S = 15.0  # how long a cluster may take to begin a role before it is said what the role needs


class Heard(NamedTuple):
    """Which order a role has followed, and the newest that it has heard."""

    followed: Order
    newest: int


class Member:
    """A role; `place` starts its process and returns its handle, `needs` says what it asks of a cluster's nodes."""

    def __init__(self, role: str, place: Callable[[], Any], needs: str = "") -> None:
        """`needs` is "" where Ray is on this machine."""
        self.role, self._place, self._needs = role, place, needs
        self.actor: Any = None
        self.run: Any = None  # None while it does not run
        self.asked: Any = None  # how it is, if that was not answered yet
        self.looked_after, self.restarts = LookedAfter(role), Restarts()
        self.over = ""  # why it has ended for as long as this run lasts

    def make(self) -> None:
        """Start its process, which imports what it needs."""
        self.actor = self._place()
        self.run = self.asked = None
        self.looked_after.begun()

    def begin(self, order: Order | None = None) -> None:
        """Let it do its steps; a server with an order."""
        self.run = self.actor.run.remote(order)

    def begin_again(self, order: Order | None) -> None:
        """Start it once more, in another process."""
        self.make()
        self.looked_after.begun_again()
        self.restarts.begun()
        self.begin(order)

    def look(self, order: Order | None = None) -> Heard | None:
        """Return what it has answered since the last look, None if nothing, and ask it again; a server takes the order.

        The process of one that hangs is ended; `hung` says so.
        """
        heard = None
        if self.asked is not None and ray.wait([self.asked], timeout=0)[0]:
            call, self.asked = self.asked, None
            with suppress(RayError):  # it has died
                process, health, *orders = ray.get(call)
                self.looked_after.answered(process, health)
                heard = Heard(*orders)
        if self.asked is None:
            self.asked = self.actor.health.remote(order)
        return heard

    def end_hanging(self) -> bool:
        """End its process if it hangs; return whether it did."""
        if not self.looked_after.hangs():
            return False
        logging.getLogger("shadowstream").warning("the %s", self.looked_after.line)
        self.looked_after.end(partial(ray.kill, self.actor))
        return True

    @property
    def unplaced(self) -> str:
        """What it needs that no node of a cluster has begun, "" if one has."""
        since_s = self.looked_after.absent_s
        if not self._needs or since_s < UNPLACED_S:
            return ""
        return f"no node of the cluster has begun the {self.role} for {since_s:.0f} s; it needs {self._needs}"

    @property
    def line(self) -> str:
        """What people must know of it now, "" where it is well."""
        if self.over:
            return f"{self.role} has ended: {self.over}"
        if self.restarts.held and (self.restarts.why or self.looked_after.lived_s < AT_ONCE_S):
            return f"{self.role} is held, tried every {HELD_S:.0f} s: {self.restarts.last}"
        if self.restarts.why:
            return f"{self.role} begins again: {self.restarts.why}"
        return self.looked_after.line

    @property
    def pulse(self) -> RolePulse:
        """How it is, for those who look from elsewhere."""
        (host, pid), health = self.looked_after.process, self.looked_after.health
        return RolePulse(
            role=self.role,
            host=host,
            pid=pid if self.run is not None else 0,
            starts=self.looked_after.starts,
            waits_for=health.waits_for,
            waits_s=health.waits_s,
            trouble=self.line,
        )
