"""A child process that runs our code: it does one piece of work, keeps a log, and never outlives its parent.

The parent makes a `Child`, which runs `python -m MODULE`; the module calls `serve`. The work arrives as a line of JSON
on standard input (a command line would show the passwords in it), and the pipe stays open: when it closes, or the
parent is gone, the child gets a moment to finish, and then exits. Standard error is its log; what its code prints
goes there, too. Standard output carries one thing, the error that it ended with.
"""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

import msgspec
from msgspec import Struct

from deploy.embedded import keeper
from streams import errors
from streams.errors import ShadowstreamError

W = TypeVar("W", bound=Struct)
LAST_BYTES = 4_096  # of a log, to find its last line in
LATE_S = 2.0  # what a child's exit may take after the time that it has to finish


class Failure(Struct, frozen=True):
    """The error that a child ended with: its class in streams.errors, or the nearest base there, and its text."""

    kind: str
    text: str


class Child(Generic[W]):
    """A running child, started with `work`. Messages call it `name`; its log is appended to the file `log`.

    The caller ends it with `leave` or `kill`, and then calls `wait`.
    """

    def __init__(self, module: str, name: str, work: W, log: Path) -> None:
        self.name, self.work, self.log = name, work, log
        with log.open("ab") as err:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=err,
                start_new_session=True,  # Ctrl-C in a terminal is the parent's to handle
            )
        if self._process.stdin:
            self._process.stdin.write(msgspec.json.encode(work, enc_hook=str) + b"\n")
            self._process.stdin.flush()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs, negative if a signal ended it."""
        return self._process.poll()

    @property
    def death(self) -> str:
        """How a signal ended it, "" if none did."""
        code = self.exit_code
        return f"signal {-code} ended the {self.name}, process {self.pid}" if code is not None and code < 0 else ""

    def error(self) -> ShadowstreamError:
        """Return the error that it ended with; without one, say its exit code and the last line of its log."""
        reported = self._process.stdout.read() if self._process.stdout else b""
        try:
            failure = msgspec.json.decode(reported, type=Failure)
        except msgspec.DecodeError:
            ended = f"the {self.name} ended with exit code {self.exit_code}"
            return ShadowstreamError(f"{ended}: {_last_line(self.log)}; its log is {self.log}")
        kind: type[ShadowstreamError] = getattr(errors, failure.kind)
        return kind(failure.text)

    def leave(self) -> None:
        """Ask it to finish and end."""
        if self._process.stdin:
            self._process.stdin.close()

    def kill(self) -> None:
        """End it as a crash would."""
        self._process.kill()

    def wait(self, grace_s: float) -> None:
        """Wait until it has ended, and kill it if it has not within `grace_s` and a little."""
        try:
            self._process.wait(grace_s + LATE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self.leave()
        if self._process.stdout:
            self._process.stdout.close()


def serve(kind: type[W], do: Callable[[W], None], ending: Callable[[W], None], grace_s: float = 0.0) -> int:
    """Run as the child: read the work, do it, and return the exit code.

    `ending` is called with the work, in a thread of its own, when the parent wants the child to end or is gone; the
    process exits `grace_s` later, whatever `do` is at.
    """
    parent, report = os.getppid(), os.dup(1)
    os.dup2(2, 1)  # the parent reads no prints: 64 kB of them would fill the pipe and stop us
    if not (line := sys.stdin.buffer.readline()):
        return 1  # the parent has ended already
    work = msgspec.json.decode(line, type=kind, dec_hook=lambda of, text: of(text))  # a path
    threading.Thread(target=_end_with_parent, args=(parent, lambda: ending(work), grace_s), daemon=True).start()
    try:
        do(work)
    except ShadowstreamError as wrong:
        nearest = next(c.__name__ for c in type(wrong).__mro__ if c.__module__ == errors.__name__)
        os.write(report, msgspec.json.encode(Failure(nearest, str(wrong))))
        return wrong.exit_code
    return 0


def _end_with_parent(parent: int, ending: Callable[[], None], grace_s: float) -> None:
    keeper.await_end(parent)
    ending()
    time.sleep(grace_s)
    os._exit(1)


def _last_line(log: Path) -> str:
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - LAST_BYTES))
        lines = file.read().decode(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "it logged nothing")
