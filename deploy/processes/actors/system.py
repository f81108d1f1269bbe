"""Ray: each role in an actor of its own, which is started again where its process dies.

No actor owns unique state, so one that was killed goes on from the store, the log and the registry.
"""

import gc
import logging
import os
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import ray
import torch

from deploy.pipeline import Pipeline, load
from deploy.processes.actors.actor import error_of, placed
from deploy.processes.actors.detached import OUTLIVES, name_of
from deploy.processes.actors.member import Member
from deploy.processes.loop import Builder, Loop, Step
from deploy.processes.nodes.node import Node
from deploy.processes.roles import JOINER_PREFIX, Plan, build, names
from deploy.registry.kinds import is_server
from deploy.registry.pulse import RolePulse
from deploy.registry.storage.home import at
from deploy.serving.assignment import Assignment
from deploy.serving.share import Order, Share
from streams.errors import RayUnreachable, ShadowstreamError

BLOCK_MS = 20  # the broker or the store wakes a role; a person's order in the registry wakes nobody
YIELDS, NICE = "distiller", 5  # works beside the loop; what waits for it is an evaluator, after a day of event time
GRACE_S = 0.5  # how long a step may take to end before its actor is ended without it
CONTRADICTIONS = range(4, 9)  # exit codes of what a person must resolve
ABSENT_S = 120.0  # how long Ray may take to start a process before it is ill itself; a busy machine takes 20 s
ALONE_S = 15.0  # how long the first server may take to begin before the others begin beside it
AWAY_S = 5.0  # how long a server may wait for a service, or begin, before others have its partitions
LONGEST_S = 30.0  # the longest pause between two tries to begin Ray anew


def job(role: str, plan: Plan, loop: Loop, share: Share) -> Builder:
    """Import what a role of a plan needs, and return what builds it."""
    gc.disable()  # a look at all that is imported finds nothing, and takes a quarter of a second each time
    torch.set_num_threads(1)
    plan = plan.on_node()
    pipeline = load(plan.pipeline)
    if role == YIELDS:
        os.nice(NICE)
    return partial(_built, role, plan, pipeline, share)


def _built(role: str, plan: Plan, pipeline: Pipeline, share: Share, stack: ExitStack) -> Step:
    step = build(role, plan, pipeline, stack, share).step
    if not gc.isenabled():
        gc.freeze()
        gc.enable()
    return step


@contextmanager
def started(plan: Plan, cluster: Node | None, *, serves: bool = False) -> Iterator["System"]:
    """Start a process for every role; they import what they need while the caller goes on.

    Leaving the `with` ends them. They are on the nodes of a `cluster` that was joined; None starts a local Ray, which
    ends with them. `serves` says that a version is there: then a local Ray's servers begin before the others.
    """
    node = cluster or Node(None, at(plan.registry).folder)
    if cluster is None:
        node.begin()
    try:
        system = System(plan, node, serves=serves and node.ours)
        try:
            yield system
        finally:
            system.stop()
    finally:
        if cluster is None:
            node.end()


class System:
    """The actors of one feed; `started` makes it."""

    def __init__(self, plan: Plan, node: Node, *, serves: bool = False) -> None:
        self._plan, self._node = plan, node
        needs = {role: "" if node.ours else str(plan.settings.ray.needs(role)) for role in names(plan.settings)}
        self._members = {role: Member(role, partial(self._place, role), needs[role]) for role in needs}
        self._trouble, self._next_s, self._pause_s = "", 0.0, 1.0  # why Ray is not there, when it is tried again
        self._later: list[Member] = []  # who begins once the first server reads requests
        self._reading = set[str]()  # servers that do
        self._shared = Assignment([role for role in self._members if is_server(role)], 0, finds=plan.detached)
        for role, member in self._members.items():
            if is_server(role) or not serves:  # each loads much before it works
                member.make()

    def _place(self, role: str) -> Any:
        plan, feed = self._plan, at(self._plan.registry).name
        named: dict[str, Any] = {"name": f"{feed}:{role}-{time.time_ns()}"}
        if plan.detached:
            named = {"name": name_of(feed, role)} | OUTLIVES
        needs = plan.settings.ray.needs(role)
        return placed(role, partial(job, role, plan), BLOCK_MS, needs, spread=plan.carried, **named)

    def ready(self) -> None:
        """Wait until the servers' processes are ready.

        Raises:
            ShadowstreamError: one cannot begin.
        """
        self._ready([member for role, member in self._members.items() if is_server(role)])

    def run(self, partitions: int) -> None:
        """Let every role begin once its process is ready, servers first; these share so many partitions of requests.

        Raises:
            ShadowstreamError: one cannot begin.
        """
        self._shared.grow(partitions)
        for serves in (True, False):
            members = [member for role, member in self._members.items() if is_server(role) is serves]
            self._ready(members)
            for member in members:
                member.begin(self._order(member))

    def _ready(self, members: Sequence[Member]) -> None:
        """Wait until these processes are; those that were not made yet are made."""
        for member in members:
            if member.actor is None:
                member.make()
        calls = {member: member.actor.ready.remote() for member in members}
        for member, ready in calls.items():
            told = ""
            while not ray.wait([ready], timeout=1.0)[0]:
                self._node.check()
                if gone := self._node.gone:
                    raise RayUnreachable(f"Ray's {gone} has ended; start the run again")
                if not told and (told := member.unplaced):
                    logging.getLogger("shadowstream").warning("%s", told)
            if wrong := self._error(member.role, ready):
                raise wrong

    def reassign(self, partitions: int) -> None:
        """Have the roles that read Kafka built again, so that they take up new partitions, so many of requests."""
        self._shared.grow(partitions)
        for role, member in self._members.items() if not self._trouble else ():
            if member.run is not None and (is_server(role) or role.startswith(JOINER_PREFIX)):
                member.actor.begin_anew.remote()

    def check(self, *, serves_on: bool = False) -> None:
        """Begin again what has ended: a role, or, where a part of Ray itself has ended, Ray and all roles.

        Raises:
            RayUnreachable: a cluster's head is lost.
            ShadowstreamError: a role has ended with an error, not because its process died; with `serves_on` only
                where it is the server, by a contradiction or in its first life.
        """
        self._node.check()
        if self._trouble or (gone := self._gone()):
            self._begin_anew(self._trouble or gone)
            return
        running = {member.run: member for member in self._members.values() if member.run is not None}
        for run in ray.wait(list(running), num_returns=len(running), timeout=0)[0] if running else ():
            if wrong := self._error(running[run].role, run):
                self._ended(running[run], wrong, serves_on=serves_on)
        due = [one for one in self._members.values() if one.restarts.due and not one.over and one not in self._later]
        if self._serving in due:
            self._later += due
            self._begin_later()
        else:  # at the next look: what has ended them may have ended the server
            self._begin_later()
            self._later += due
        self._look_after()

    @property
    def roles(self) -> list[RolePulse]:
        """How each role is, as it has last answered."""
        return [member.pulse for member in self._members.values()]

    @property
    def lines(self) -> tuple[str, ...]:
        """What people must know of the roles now."""
        lines = (line for member in self._members.values() if (line := member.line or member.unplaced))
        return (*filter(None, (self._trouble, self._node.trouble)), *lines)

    def _ended(self, member: Member, wrong: ShadowstreamError, *, serves_on: bool) -> None:
        if is_server(member.role):
            self._shared.gone(member.role)
        first = is_server(member.role) and not member.looked_after.starts
        contradiction = wrong.exit_code in CONTRADICTIONS
        if not wrong.retry_helps and (not serves_on or (is_server(member.role) and (first or contradiction))):
            raise wrong
        member.run = None
        if contradiction:
            member.over = str(wrong)
            return
        member.restarts.ended(str(wrong), member.looked_after.lived_s)
        if member.restarts.held and not serves_on:
            raise wrong
        logging.getLogger("shadowstream").warning("%s", member.line)

    def _gone(self) -> str:
        """Return what of Ray has ended, or does nothing any more; "" if nothing has."""
        if gone := self._node.gone:
            return f"Ray's {gone} has ended"
        running = [one for one in self._members.values() if one.run is not None]
        absent = [one.role for one in running if one.looked_after.absent_s > ABSENT_S]
        return f"Ray has not started the {absent[0]} for {ABSENT_S:.0f} s" if absent and self._node.ours else ""

    def _begin_anew(self, why: str) -> None:
        """End what is left of Ray, and begin it and the roles anew; while it does not start, that is tried again."""
        if time.monotonic() < self._next_s:
            return
        if not self._trouble:
            logging.getLogger("shadowstream").warning("%s; Ray and all roles begin anew", why)
            here, members = socket.gethostname(), self._members.values()
            self._node.end_broken([at.pid for at in (one.looked_after.process for one in members) if at.host == here])
            for member in members:
                member.run = member.asked = None
                if is_server(member.role):
                    self._shared.gone(member.role)
        try:
            self._node.begin()
        except RayUnreachable as wrong:
            self._trouble, self._next_s = f"waiting for Ray: {wrong}", time.monotonic() + self._pause_s
            self._pause_s = min(LONGEST_S, 2 * self._pause_s)
            return
        self._trouble, self._pause_s = "", 1.0
        self._later = [member for member in self._members.values() if not member.over]
        self._begin_later()

    @property
    def _serving(self) -> Member:
        """The first server."""
        return next(member for role, member in self._members.items() if is_server(role))

    def _begin_later(self) -> None:
        """Begin roles that have ended: a server first, alone, for each loads much before it works."""
        if not (self._later and self._node.answers()):
            return
        serving = self._serving
        if serving in self._later:
            self._later.remove(serving)
            self._begin(serving)
        elif serving.over or serving.role in self._reading or _waits(serving):
            for member in self._later:
                self._begin(member)
            self._later = []

    def _begin(self, member: Member) -> None:
        if is_server(member.role):
            self._reading.discard(member.role)
            self._shared.begun(member.role)
        member.begin_again(self._order(member))

    def _order(self, member: Member) -> Order | None:
        return self._shared.order(member.role) if is_server(member.role) else None

    def _share(self, server: Member, followed: Order, newest: int) -> None:
        """Have others take over what a server cannot answer for the moment, and give it its part where it can."""
        if server.looked_after.health.waits_s > AWAY_S:
            self._shared.away(server.role)
        else:
            self._shared.heard(server.role, followed, newest)

    def _look_after(self) -> None:
        """Ask each role how it is; end the process of one that hangs, which is then started again."""
        for member in [member for member in self._members.values() if member.run is not None]:
            heard = member.look(self._order(member))
            if is_server(member.role):
                if heard:
                    self._share(member, *heard)
                    self._reading |= {member.role} if heard.followed.generation >= 0 else set()
                if member.looked_after.absent_s > AWAY_S:
                    self._shared.away(member.role)
            if member.end_hanging() and is_server(member.role):
                self._shared.gone(member.role)

    def _error(self, role: str, call: Any) -> ShadowstreamError | None:
        return error_of(role, call, self._plan.pipeline, at(self._plan.registry).folder / "services")

    def stop(self) -> None:
        """Let every role finish its step and end."""
        if self._trouble:
            return
        runs = [member.run for member in self._members.values() if member.run is not None]
        actors = [member.actor for member in self._members.values() if member.actor is not None]
        for actor in actors:
            actor.stop.remote()
        if runs:
            ray.wait(runs, num_returns=len(runs), timeout=GRACE_S)
        for actor in actors if self._plan.detached else ():
            ray.kill(actor)


def _waits(server: Member) -> bool:
    """Return whether a server that has begun waits for something that it needs, or takes long."""
    at = server.looked_after
    return bool(at.health.waits_for) or max(at.absent_s, at.lived_s) > ALONE_S
