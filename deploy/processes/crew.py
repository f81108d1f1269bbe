"""The workers of one join: started, watched, started again where their process died, ended with the join.

No worker owns unique state, so the next one goes on from the store, the log and the output. Does not know where a
worker runs: here in a child process, or in an actor of a cluster (`far.py`).
"""

from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from deploy.embedded.child import Child
from deploy.processes.worker import GRACE_S, WRITER, Work
from streams.errors import ShadowstreamError

MODULE = "deploy.processes.worker"


class Worker(Protocol):
    """A worker that was started."""

    @property
    def work(self) -> Work:
        """What it does."""

    @property
    def exit_code(self) -> int | None:
        """None while it runs, 0 if it has finished, negative if its process died, else that of its error."""

    @property
    def death(self) -> str:
        """How its process died, "" if it did not."""

    def error(self) -> ShadowstreamError:
        """Return the error that it ended with."""

    def leave(self) -> None:
        """Ask it to finish its step and end."""

    def wait(self, grace_s: float) -> None:
        """Wait until it has ended, and end it if it has not within `grace_s` and a little."""


Start = Callable[[Work, int], Worker]  # of a worker, by its number among its like


def start(work: Work, log: Path) -> Child[Work]:
    """Start a worker in a process of this machine."""
    return Child(MODULE, work.role, work, log)


def in_child(folder: Path) -> Start:
    """Return what starts workers in processes of this machine, with their logs in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    return lambda work, n: start(work, folder / f"{work.role}-{n}.log")


class Crew:
    """Workers, one for each of `works`, which `start` starts. A context manager: leaving it ends them all.

    `say` takes a line for each worker whose process died; `ready` says whether one can be started.
    """

    def __init__(
        self, works: list[Work], start: Start, say: Callable[[str], None], ready: Callable[[], bool] = lambda: True
    ) -> None:
        self._works, self._begin, self._say, self._ready = works, start, say, ready
        self.workers: list[Worker] = []

    def __enter__(self) -> Self:
        self.workers = [self._start(n) for n in range(len(self._works))]
        return self

    def check(self) -> None:
        """Start again the workers whose process died.

        Raises:
            ShadowstreamError: a worker ended with an error; that error.
        """
        for n, worker in enumerate(self.workers):
            if death := worker.death:
                if not self._ready():
                    continue
                self._say(f"{death}; starting it again")
                worker.wait(GRACE_S)
                self.workers[n] = self._start(n)
            elif worker.exit_code:
                raise worker.error()

    def change(self, works: list[Work]) -> None:
        """Let all workers finish their step and end, and start others, one for each of `works`."""
        self._end()
        self._works = works
        self.__enter__()

    def written(self) -> bool:
        """Return whether the writer has ended because everything is written; True where there is no writer."""
        return all(worker.exit_code == 0 for worker in self.workers if worker.work.role == WRITER)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._end()

    def _end(self) -> None:
        for worker in self.workers:
            worker.leave()
        for worker in self.workers:
            worker.wait(GRACE_S)

    def _start(self, n: int) -> Worker:
        return self._begin(self._works[n], n)
