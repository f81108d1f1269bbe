"""Ray: the loop of one role in an actor, on a node that has what the role needs.

Owns the actor, and what the end of its call means. Does not know what a role does, nor who looks after it.
"""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError, RuntimeEnvSetupError

from deploy.placement import GB, Needs
from deploy.processes.actors.detached import printed
from deploy.processes.failures import brief, failure
from deploy.processes.health import Process
from deploy.processes.loop import Builder, Health, Loop
from deploy.processes.nodes.code import here
from deploy.serving.share import Order, Share
from streams.errors import RoleDied, ShadowstreamError

Job = Callable[[Loop, Share], Builder]  # imports what the role needs, and returns what builds it


class Actor:
    """One role. `run` lasts until `stop`, or until another calls it: then that one waits for the end."""

    def __init__(self, role: str, job: Job, block_ms: int) -> None:
        """`block_ms` is how long a step may wait for something to do."""
        self._role, self._job, self._block_ms = role, job, block_ms
        self._loop, self._share = Loop(), Share()
        self._builder: Builder | None = None
        self._ending = threading.Condition()
        self._calls, self._ended = 0, False
        self._error: BaseException | None = None

    def ready(self) -> None:
        """Import what the role needs: a call of it returns once the process has imported everything."""
        self._builder = self._builder or self._job(self._loop, self._share)

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
            builder = self._builder or self._job(self._loop, self._share)  # nobody waits until a new process is ready
            self._loop.run(self._role, builder, self._block_ms)
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


def placed(role: str, job: Job, block_ms: int, needs: Needs, *, spread: bool, **named: Any) -> Any:
    """Start a role's process where there is what it needs, and return its handle; `spread` puts roles on all nodes.

    `named` are Ray's own options: the actor's name, and whether it outlives us.
    """
    return _Remote.options(
        **named,
        num_cpus=needs.cpus,
        num_gpus=needs.gpus,
        memory=int(needs.memory_gb * GB) or None,
        label_selector=needs.labels or None,
        scheduling_strategy="SPREAD" if spread else None,
    ).remote(role, job, block_ms)


def error_of(role: str, call: Any, file: Path, folder: Path) -> ShadowstreamError | None:
    """Wait for the end of a role's call, and return its error as ours; None where it has none.

    `file` is the user's, a pipeline.py or a feed.py; `folder` keeps the traceback of an error that is not ours.
    """
    try:
        ray.get(call)
    except RayTaskError as wrong:
        if isinstance(wrong.cause, ShadowstreamError):
            return wrong.cause
        trace = here(str(wrong), file.parent)  # which is the traceback of that process
        return failure(role, wrong.cause or wrong, trace, file, folder)
    except RuntimeEnvSetupError as wrong:
        return ShadowstreamError(f"no process can be started for the {role}: {brief(wrong)}")
    except RayError:
        return RoleDied("its process has died: killed, out of memory, or a crash in native code")
    return None
