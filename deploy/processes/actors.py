"""Ray: each role in an actor of its own, which Ray starts again where its process dies. The only file that imports ray.

No actor owns unique state, so one that was killed goes on from the store, the log and the registry.
"""

import logging
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from importlib import import_module
from typing import Any

import ray
import torch
from ray.exceptions import RayError, RayTaskError

from deploy.pipeline import Pipeline, load
from deploy.processes import cluster
from deploy.processes.failures import brief, failure
from deploy.processes.health import LookedAfter, Process
from deploy.processes.loop import Health, Loop
from deploy.processes.roles import JOINER_PREFIX, SERVER, Plan, build, names
from streams.errors import ConfigError, RayUnreachable, ShadowstreamError

BLOCK_MS = {"distiller": 5, "evaluator": 5, "conductor": 5}  # between looks at the registry, whose files wake nobody
BLOCK_OTHERS_MS = 20  # the broker or the store wakes these
ENDING = "ray.dag.compiled_dag_node"  # ray.shutdown imports it, for a second, in which a user would wait
GRACE_S = 0.5  # how long a step may take to end before its actor is ended without it
START_TRIES, TIMED_OUT = 5, "timed out during startup"
LOCAL: dict[str, Any] = {
    "include_dashboard": False,
    "object_store_memory": 100 << 20,  # bytes; no event or model goes through Ray
    "_system_config": {"worker_niceness": 0},  # at Ray's 15, any other busy process starves the actors
}


class Actor:
    """One role. `run` lasts until `stop`."""

    def __init__(self, role: str, plan: Plan) -> None:
        torch.set_num_threads(1)
        self._role, self._plan, self._loop = role, plan, Loop()
        self._pipeline: Pipeline | None = None

    def ready(self) -> None:
        """Import the pipeline: a call of it returns once the process has imported everything."""
        self._pipeline = self._pipeline or load(self._plan.pipeline)

    def run(self) -> None:
        """Do the role's steps."""
        block_ms = BLOCK_MS.get(self._role, BLOCK_OTHERS_MS)
        pipeline = self._pipeline or load(self._plan.pipeline)  # Ray may have started this process again
        self._loop.run(self._role, lambda stack: build(self._role, self._plan, pipeline, stack).step, block_ms)

    def health(self) -> tuple[Process, Health]:
        """Return which process this is, and how the role is."""
        return Process.own(), self._loop.health

    def begin_anew(self) -> None:
        """Have the role built again after its current step."""
        self._loop.begin_anew()

    def stop(self) -> None:
        """End `run` after the current step."""
        self._loop.stop()


_Remote: Any = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1, max_concurrency=3)(Actor)


def _init(address: str | None) -> None:
    """Connect to the cluster at `address`, or start a local one; Ray gives that 30 s, which a busy machine may pass.

    Raises:
        RayUnreachable, ConfigError: it does not work; the text has Ray's reason and what to do.
    """
    if address is not None:
        cluster.check(address)
    local = LOCAL if address is None else {}
    for left in reversed(range(START_TRIES)):
        try:
            with _own_signals():
                ray.init(address=address or "local", logging_level=logging.ERROR, log_to_driver=True, **local)
            return
        except (Exception, SystemExit) as wrong:  # Ray raises the bare class here
            if not left or TIMED_OUT not in str(wrong):
                raise _not_started(wrong, address) from wrong


@contextmanager
def _own_signals() -> Iterator[None]:
    """Keep our handler of SIGTERM, for which Ray puts its own."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def _not_started(wrong: BaseException, address: str | None) -> ShadowstreamError:
    if "AF_UNIX path length" in str(wrong):
        return ConfigError(
            "Ray's folder has too long a path for its sockets; set the variable RAY_TMPDIR to a short one, such as /tmp"
        )
    if address is not None:
        return RayUnreachable(f"no Ray cluster can be joined at {address} (ray.address): {brief(wrong)}")
    return RayUnreachable(
        f"Ray does not start on this machine: {brief(wrong)}; its logs are in /tmp/ray/session_latest"
    )


@contextmanager
def started(plan: Plan, address: str | None) -> Iterator["System"]:
    """Start a process for every role; they import what they need while the caller goes on.

    Leaving the `with` ends them, and Ray where it was started here: `address` is that of a running cluster, and None
    starts a local one.
    """
    _init(address)
    threading.Thread(target=import_module, args=(ENDING,), daemon=True).start()
    try:
        now = time.time_ns()
        actors = {role: _Remote.options(name=f"{role}-{now}").remote(role, plan) for role in names(plan)}
        system = System(actors, plan)
        try:
            yield system
        finally:
            system.stop()
    finally:
        ray.shutdown()


class System:
    """The actors of one feed, by role; `started` makes it."""

    def __init__(self, actors: dict[str, Any], plan: Plan) -> None:
        self._actors, self._plan = actors, plan
        self._runs: dict[Any, str] = {}  # empty until `run`
        self._looked_after = {role: LookedAfter(role) for role in actors}
        self._asked: dict[Any, str] = {}
        self._ended: list[str] = []

    def run(self) -> None:
        """Wait until every process is ready, and let the roles begin.

        Raises:
            ShadowstreamError: one cannot begin.
        """
        for role, ready in {role: actor.ready.remote() for role, actor in self._actors.items()}.items():
            self._get(role, ready)
        self._runs = {actor.run.remote(): role for role, actor in self._actors.items()}

    def reassign(self) -> None:
        """Have the roles that read Kafka built again, so that they take up new partitions."""
        for role, actor in self._actors.items():
            if role == SERVER or role.startswith(JOINER_PREFIX):
                actor.begin_anew.remote()

    def check(self, *, serves_on: bool = False) -> None:
        """Check that no role has ended; with `serves_on`, the others may.

        Raises:
            ShadowstreamError: one has ended with an error; that error.
        """
        done, _ = ray.wait(list(self._runs), timeout=0)
        for run in done:
            role = self._runs[run]
            try:
                self._get(role, run)
            except ShadowstreamError as wrong:
                if role == SERVER or not serves_on:
                    raise
                del self._runs[run], self._looked_after[role]
                self._ended.append(f"{role} has ended: {wrong}")
        self._look_after()

    @property
    def lines(self) -> tuple[str, ...]:
        """What people must know of the roles now."""
        return (*self._ended, *(line for one in self._looked_after.values() if (line := one.line)))

    def _look_after(self) -> None:
        """Ask each role how it is; end the process of one that hangs, which Ray then starts again."""
        for call in ray.wait(list(self._asked), num_returns=len(self._asked), timeout=0)[0] if self._asked else ():
            role = self._asked.pop(call)
            with suppress(RayError, KeyError):  # it has died, and is being started again; or it has ended for good
                self._looked_after[role].answered(*ray.get(call))
        for role in self._looked_after.keys() - self._asked.values():
            self._asked[self._actors[role].health.options(max_task_retries=0).remote()] = role
        for role, one in self._looked_after.items():
            if one.hangs():
                logging.getLogger("shadowstream").warning("the %s", one.line)
                one.end(partial(ray.kill, self._actors[role], no_restart=False))

    def _get(self, role: str, call: Any) -> None:
        """Wait for a call's end, and raise its error as ours."""
        try:
            ray.get(call)
        except RayTaskError as wrong:
            if isinstance(wrong.cause, ShadowstreamError):
                raise wrong.cause from None
            cause, trace = wrong.cause or wrong, str(wrong)  # which is the traceback of that process
            raise failure(role, cause, trace, self._plan.pipeline, self._plan.registry / "services") from None
        except RayError as wrong:
            raise ShadowstreamError(f"the {role} ended: {brief(wrong)}") from None

    def stop(self) -> None:
        """Let every role finish its step and end."""
        for actor in self._actors.values():
            actor.stop.remote()
        if self._runs:
            ray.wait(list(self._runs), num_returns=len(self._runs), timeout=GRACE_S)
