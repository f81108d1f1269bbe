"""The worker processes of one join: started, watched, started again where they died, ended with the join.

No worker owns unique state, so the next one goes on from the store, the log and the output.
"""

from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from deploy.embedded.child import Child
from deploy.processes.worker import GRACE_S, WRITER, Work

Worker = Child[Work]
MODULE = "deploy.processes.worker"


def start(work: Work, log: Path) -> Worker:
    """Start one worker."""
    return Child(MODULE, work.role, work, log)


class Crew:
    """Workers, one for each of `works`. A context manager: leaving it ends them all.

    Their logs are in `folder`; `say` takes a line for each worker that a signal has ended.
    """

    def __init__(self, works: list[Work], folder: Path, say: Callable[[str], None]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._works, self._folder, self._say = works, folder, say
        self.workers: list[Worker] = []

    def __enter__(self) -> Self:
        self.workers = [self._start(n) for n in range(len(self._works))]
        return self

    def check(self) -> None:
        """Start again the workers that a signal has ended.

        Raises:
            ShadowstreamError: a worker ended with an error; that error.
        """
        for n, worker in enumerate(self.workers):
            code = worker.exit_code
            if code is not None and code < 0:
                self._say(f"signal {-code} ended the {worker.name}, process {worker.pid}; starting it again")
                worker.wait(GRACE_S)
                self.workers[n] = self._start(n)
            elif code:
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
        return start(self._works[n], self._folder / f"{self._works[n].role}-{n}.log")
