"""The worker processes of one join: started, watched, started again where they died, ended with us.

Owns processes and their logs. Knows of a worker only its work, its exit code and the error it told. No worker owns
unique state, so a killed one starts again from the store, the log and the output.
"""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from deploy.processes.worker import GRACE_S, Failure, Work
from streams import errors
from streams.errors import ShadowstreamError

COMMAND = [sys.executable, "-P", "-m", "deploy.processes.worker"]


class Worker:
    """One process; its log is `log`."""

    def __init__(self, work: Work, log: Path) -> None:
        self.work, self.log = work, log
        with log.open("ab") as err:
            self._process = subprocess.Popen(
                COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=err, start_new_session=True
            )
        if self._process.stdin:
            self._process.stdin.write(msgspec.json.encode(work) + b"\n")
            self._process.stdin.flush()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs, negative if a signal ended it."""
        return self._process.poll()

    def error(self) -> ShadowstreamError:
        """Give the error that it ended with."""
        told = self._process.stdout.read() if self._process.stdout else b""
        try:
            failure = msgspec.json.decode(told, type=Failure)
        except msgspec.DecodeError:
            return ShadowstreamError(f"the {self.work.role} ended with exit code {self.exit_code}; see {self.log}")
        kind: type[ShadowstreamError] = getattr(errors, failure.kind)
        return kind(failure.text)

    def leave(self) -> None:
        """Ask it to end."""
        if self._process.stdin:
            self._process.stdin.close()

    def kill(self) -> None:
        """End it as a crash would."""
        self._process.kill()

    def end(self) -> None:
        """Wait for its end, which comes in `GRACE_S` at the latest."""
        try:
            self._process.wait(GRACE_S + 2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout:
            self._process.stdout.close()


class Crew:
    """A context manager: leaving it ends all workers."""

    def __init__(self, works: list[Work], folder: Path, say: Callable[[str], None]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._works, self._folder, self._say = works, folder, say
        self.workers: list[Worker] = []

    def __enter__(self) -> Self:
        self.workers = [self._start(n) for n in range(len(self._works))]
        return self

    def check(self) -> None:
        """Start again whoever was killed.

        Raises:
            ShadowstreamError: a worker ended with an error; that error.
        """
        for n, worker in enumerate(self.workers):
            code = worker.exit_code
            if code is not None and code < 0:
                self._say(f"signal {-code} ended the {worker.work.role}, process {worker.pid}; starting it again")
                worker.leave()
                worker.end()
                self.workers[n] = self._start(n)
            elif code:
                raise worker.error()

    def change(self, works: list[Work]) -> None:
        """End all workers in order, and give their successors other work."""
        self._end()
        self._works = works
        self.__enter__()

    def written(self) -> bool:
        """Tell whether the writer, if there is one, has ended because all is written."""
        return all(worker.exit_code == 0 for worker in self.workers if worker.work.role == "writer")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._end()

    def _end(self) -> None:
        for worker in self.workers:
            worker.leave()
        for worker in self.workers:
            worker.end()

    def _start(self, n: int) -> Worker:
        return Worker(self._works[n], self._folder / f"{self._works[n].role}-{n}.log")
