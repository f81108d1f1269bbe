"""Ray: each role in an actor of its own, which is started again where its process dies.

No actor owns unique state, so one that was killed goes on from the store, the log and the registry.
"""

import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import ray
import torch
from ray.exceptions import RayError, RayTaskError

from deploy.pipeline import Pipeline, load
from deploy.placement import GB
from deploy.processes.code import here
from deploy.processes.detached import OUTLIVES, name_of, printed
from deploy.processes.failures import failure
from deploy.processes.health import LookedAfter, Process
from deploy.processes.loop import Health, Loop
from deploy.processes.node import LOG, Node
from deploy.processes.restarts import AT_ONCE_S, HELD_S, Restarts
from deploy.processes.roles import JOINER_PREFIX, Plan, build, names
from deploy.registry.kinds import is_server
from deploy.registry.pulse import RolePulse
from deploy.registry.storage.home import at
from deploy.serving.assignment import Assignment
from deploy.serving.share import Order, Share
from streams.errors import RayUnreachable, RoleDied, ShadowstreamError

BLOCK_MS = 20  # the broker or the store wakes a role; a person's order in the registry wakes nobody
YIELDS, NICE = "distiller", 5  # works beside the loop; what waits for it is an evaluator, after a day of event time
GRACE_S = 0.5  # how long a step may take to end before its actor is ended without it
CONTRADICTIONS = range(4, 9)  # exit codes of what a person must resolve
ABSENT_S = 120.0  # how long Ray may take to start a process before it is ill itself; a busy machine takes 20 s
ALONE_S = 15.0  # how long the first server may take to begin before the others begin beside it
AWAY_S = 5.0  # how long a server may wait for a service, or begin, before others have its partitions
LONGEST_S = 30.0  # the longest pause between two tries to begin Ray anew
UNPLACED_S = 15.0  # how long a cluster may take to begin a role before it is said what the role needs


class Actor:
    """One role. `run` lasts until `stop`, or until another calls it: then that one waits for the end."""

    def __init__(self, role: str, plan: Plan) -> None:
        torch.set_num_threads(1)
        self._role, self._plan, self._loop, self._share = role, plan.on_node(), Loop(), Share()
        self._pipeline: Pipeline | None = None
        self._ending = threading.Condition()
        self._calls, self._ended = 0, False
        self._error: BaseException | None = None

    def ready(self) -> None:
        """Import the pipeline: a call of it returns once the process has imported everything."""
        self._pipeline = self._pipeline or load(self._plan.pipeline)

    def run(self, order: Order | None) -> None:
        """Do the role's steps, or, where these are being done, wait for their end; a server begins by an order."""
        self._hear(order)
        with self._ending:
            self._calls += 1
            mine = self._calls
            if mine == 1:
                threading.Thread(target=self._work, daemon=True, name=self._role).start()
            self._ending.notify_all()  # who called before has ended, or does so
            self._ending.wait_for(lambda: self._ended or self._calls > mine)
        if self._ended and self._error:
            raise self._error

    def _work(self) -> None:
        try:
            if self._role == YIELDS:
                os.nice(NICE)
            pipeline = self._pipeline or load(self._plan.pipeline)  # nobody waits until a new process is ready
            self._loop.run(
                self._role, lambda stack: build(self._role, self._plan, pipeline, stack, self._share).step, BLOCK_MS
            )
        except BaseException as wrong:  # noqa: BLE001 the caller raises it
            self._error = wrong
        with self._ending:
            self._ended = True
            self._ending.notify_all()

    def health(self, order: Order | None) -> tuple[Process, Health, Order, int]:
        """Return which process this is, how the role is, and which order it has followed and which it has heard.

        A server takes the `order`.
        """
        self._hear(order)
        return Process.own(), self._loop.health, self._share.followed, self._share.ordered.generation

    def begin_anew(self) -> None:
        """Have the role built again after its current step."""
        self._loop.begin_anew()

    def stop(self) -> None:
        """End `run` after the current step."""
        self._loop.stop()

    def log(self, after: tuple[int, ...]) -> tuple[tuple[int, ...], str]:
        """Return what this process has printed after so many bytes of its outputs, and how many there are now."""
        return printed(after)

    def _hear(self, order: Order | None) -> None:
        if order:
            self._share.hear(order)


_Remote: Any = ray.remote(num_cpus=0, max_restarts=0, max_task_retries=0, max_concurrency=5)(Actor)


@contextmanager
def started(plan: Plan, cluster: Node | None) -> Iterator["System"]:
    """Start a process for every role; they import what they need while the caller goes on.

    Leaving the `with` ends them. They are on the nodes of a `cluster` that was joined; None starts a local Ray, which
    ends with them.
    """
    node = cluster or Node(None, at(plan.registry).folder / "services" / LOG)
    if cluster is None:
        node.begin()
    try:
        system = System(plan, node)
        try:
            yield system
        finally:
            system.stop()
    finally:
        if cluster is None:
            node.end()


class Member:
    """A role of a system: its actor, the call of its `run`, and how it has fared."""

    def __init__(self, role: str) -> None:
        self.role = role
        self.actor: Any = None
        self.run: Any = None  # None while it does not run
        self.asked: Any = None  # how it is, if that was not answered yet
        self.looked_after, self.restarts = LookedAfter(role), Restarts()
        self.over = ""  # why it has ended for as long as this run lasts

    def make(self, plan: Plan) -> None:
        """Start its process, which imports what it needs."""
        needs = plan.settings.ray.needs(self.role)
        named = {"name": f"{self.role}-{time.time_ns()}"}
        if plan.detached:
            named = {"name": name_of(at(plan.registry).name, self.role)} | OUTLIVES
        self.actor = _Remote.options(
            **named,
            num_cpus=needs.cpus,
            num_gpus=needs.gpus,
            memory=int(needs.memory_gb * GB) or None,
            label_selector=needs.labels or None,
            scheduling_strategy="SPREAD" if plan.carried else None,
        ).remote(self.role, plan)
        self.run = self.asked = None

    def begin_again(self, plan: Plan, order: Order | None) -> None:
        """Start it once more, in another process; a server with an order."""
        self.make(plan)
        self.looked_after.begun_again()
        self.restarts.begun()
        self.run = self.actor.run.remote(order)

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


class System:
    """The actors of one feed; `started` makes it."""

    def __init__(self, plan: Plan, node: Node) -> None:
        self._plan, self._node = plan, node
        self._members = {role: Member(role) for role in names(plan.settings)}
        self._trouble, self._next_s, self._pause_s = "", 0.0, 1.0  # why Ray is not there, when it is tried again
        self._later: list[Member] = []  # who begins once the first server answers
        self._shared = Assignment([role for role in self._members if is_server(role)], 0, finds=plan.detached)
        for member in self._members.values():
            member.make(plan)

    def run(self, partitions: int) -> None:
        """Wait until every process is ready, and let the roles begin; servers share so many partitions of requests.

        Raises:
            ShadowstreamError: one cannot begin.
        """
        calls = {member: member.actor.ready.remote() for member in self._members.values()}
        for member, ready in calls.items():
            told = ""
            while not ray.wait([ready], timeout=1.0)[0]:
                if gone := self._node.gone:
                    raise RayUnreachable(f"Ray's {gone} has ended; start the run again")
                if not told and (told := self._unplaced(member)):
                    logging.getLogger("shadowstream").warning("%s", told)
            if wrong := self._error(member.role, ready):
                raise wrong
        self._shared.grow(partitions)
        for member in self._members.values():
            member.run = member.actor.run.remote(self._order(member))

    def reassign(self, partitions: int) -> None:
        """Have the roles that read Kafka built again, so that they take up new partitions, so many of requests."""
        self._shared.grow(partitions)
        for role, member in self._members.items() if not self._trouble else ():
            if member.run is not None and (is_server(role) or role.startswith(JOINER_PREFIX)):
                member.actor.begin_anew.remote()

    def check(self, *, serves_on: bool = False) -> None:
        """Begin again what has ended: a role, or, where a part of Ray itself has ended, Ray and all roles.

        Raises:
            ShadowstreamError: a role has ended with an error, not because its process died; with `serves_on` only
                where it is the server, by a contradiction or in its first life.
        """
        if self._trouble or (gone := self._gone()):
            self._begin_anew(self._trouble or gone)
            return
        running = {member.run: member for member in self._members.values() if member.run is not None}
        for run in ray.wait(list(running), num_returns=len(running), timeout=0)[0] if running else ():
            if wrong := self._error(running[run].role, run):
                self._ended(running[run], wrong, serves_on=serves_on)
        for member in self._members.values():
            if member.restarts.due and not member.over and member not in self._later:
                self._begin(member)
        self._begin_later()
        self._look_after()

    @property
    def roles(self) -> list[RolePulse]:
        """How each role is, as it has last answered."""
        return [member.pulse for member in self._members.values()]

    @property
    def lines(self) -> tuple[str, ...]:
        """What people must know of the roles now."""
        lines = (line for member in self._members.values() if (line := member.line or self._unplaced(member)))
        return (*filter(None, (self._trouble,)), *lines)

    def _unplaced(self, member: Member) -> str:
        """Return what a role needs that no node of a cluster has begun, "" if one has."""
        since_s = member.looked_after.absent_s
        if self._node.ours or since_s < UNPLACED_S:
            return ""
        needs = self._plan.settings.ray.needs(member.role)
        return f"no node of the cluster has begun the {member.role} for {since_s:.0f} s; it needs {needs}"

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

    def _begin_later(self) -> None:
        """Begin the roles of a Ray begun anew: a server first, alone, for each loads much before it works."""
        serving = next(member for role, member in self._members.items() if is_server(role))
        if serving in self._later:
            self._later.remove(serving)
            self._begin(serving)
        elif serving.over or serving.looked_after.process.pid or serving.looked_after.absent_s > ALONE_S:
            for member in self._later:
                self._begin(member)
            self._later = []

    def _begin(self, member: Member) -> None:
        if is_server(member.role):
            self._shared.begun(member.role)
        member.begin_again(self._plan, self._order(member))

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
        members = [member for member in self._members.values() if member.run is not None]
        asked = {member.asked: member for member in members if member.asked is not None}
        for call in ray.wait(list(asked), num_returns=len(asked), timeout=0)[0] if asked else ():
            asked[call].asked = None
            with suppress(RayError):  # it has died
                process, health, followed, newest = ray.get(call)
                asked[call].looked_after.answered(process, health)
                if is_server(asked[call].role):
                    self._share(asked[call], followed, newest)
        for member in members:
            if member.asked is None:
                member.asked = member.actor.health.remote(self._order(member))
            if is_server(member.role) and member.looked_after.absent_s > AWAY_S:
                self._shared.away(member.role)
            if member.looked_after.hangs():
                logging.getLogger("shadowstream").warning("the %s", member.looked_after.line)
                member.looked_after.end(partial(ray.kill, member.actor))
                if is_server(member.role):
                    self._shared.gone(member.role)

    def _error(self, role: str, call: Any) -> ShadowstreamError | None:
        """Wait for a call's end, and return its error as ours."""
        try:
            ray.get(call)
        except RayTaskError as wrong:
            if isinstance(wrong.cause, ShadowstreamError):
                return wrong.cause
            pipeline, trace = self._plan.pipeline, str(wrong)  # which is the traceback of that process
            folder = at(self._plan.registry).folder / "services"
            return failure(role, wrong.cause or wrong, here(trace, pipeline.parent), pipeline, folder)
        except RayError:
            return RoleDied("its process has died: killed, out of memory, or a crash in native code")
        return None

    def stop(self) -> None:
        """Let every role finish its step and end."""
        if self._trouble:
            return
        runs = [member.run for member in self._members.values() if member.run is not None]
        for member in self._members.values():
            member.actor.stop.remote()
        if runs:
            ray.wait(runs, num_returns=len(runs), timeout=GRACE_S)
        for member in self._members.values() if self._plan.detached else ():
            ray.kill(member.actor)
