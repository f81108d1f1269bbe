"""A worker of a join in an actor: on a cluster's node that has what a joiner needs.

Owns when such a worker has ended. Does not know what a worker does, nor who starts it again. Imports no model.
"""

import logging
import time
from functools import partial
from pathlib import Path

import msgspec
import ray

from deploy.processes.actors.actor import error_of, placed
from deploy.processes.actors.member import Member
from deploy.processes.crew import Start, Worker
from deploy.processes.nodes.code import FOLDER
from deploy.processes.worker import BLOCK_MS, Work, job
from streams.errors import RoleDied, ShadowstreamError

DIED = -1  # the exit code of a process that died on another machine, where nobody here sees why


class Far:
    """A running worker, the `n`-th of a feed; `folder` keeps the traceback of an error that is not ours."""

    def __init__(self, feed: str, folder: Path, work: Work, n: int) -> None:
        role = f"{work.role}-{n}"
        self.work, self._file, self._folder = work, Path(work.feed), folder
        needs = work.settings.ray.needs(work.role)
        there = partial(job, msgspec.structs.replace(work, feed=str(Path(FOLDER) / self._file.name)))
        name = f"{feed}:{role}-{time.time_ns()}"
        self._member = Member(role, partial(placed, role, there, BLOCK_MS, needs, spread=True, name=name), str(needs))
        self._member.make()
        self._member.begin()
        self._ended, self._told = False, ""
        self._wrong: ShadowstreamError | None = None

    @property
    def exit_code(self) -> int | None:
        """None while it runs, negative if its process died."""
        if not self._ended:
            self._look()
        if isinstance(self._wrong, RoleDied):
            return DIED
        return (self._wrong.exit_code if self._wrong else 0) if self._ended else None

    @property
    def death(self) -> str:
        """How its process died, "" if it did not."""
        at = self._member.looked_after.process
        where = f", process {at.pid} on {at.host}," if at.pid else ""
        return f"the {self._member.role}{where} died" if self.exit_code == DIED else ""

    def error(self) -> ShadowstreamError:
        """Return the error that it ended with."""
        return self._wrong or ShadowstreamError(f"the {self._member.role} ended, and should not have")

    def leave(self) -> None:
        """Ask it to finish its step and end."""
        self._member.actor.stop.remote()

    def wait(self, grace_s: float) -> None:
        """Wait until it has ended, and end it if it has not within `grace_s`."""
        ray.wait([self._member.run], timeout=grace_s)
        ray.kill(self._member.actor)

    def _look(self) -> None:
        if ray.wait([self._member.run], timeout=0)[0]:
            self._ended, self._wrong = True, error_of(self._member.role, self._member.run, self._file, self._folder)
            return
        self._member.look()
        self._member.end_hanging()
        if not self._told and (unplaced := self._member.unplaced):
            self._told = unplaced
            logging.getLogger("shadowstream").warning("%s", unplaced)


def in_actors(feed: str, folder: Path) -> Start:
    """Return what starts a worker in an actor."""

    def start(work: Work, n: int) -> Worker:
        return Far(feed, folder, work, n)

    return start
