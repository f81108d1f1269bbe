"""Signals that end a command: Ctrl-C, SIGTERM and SIGHUP alike.

The first one is raised as KeyboardInterrupt in the main thread: everything is closed on the way out. `ENDS_S` later,
or at a second signal, what we started and is still there is killed, and the process exits: nothing is lost by that
(docs/failures.md). The exit code is 128 and the first signal's number. Owns this, and knows no command.
"""

import os
import select
import signal
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType

ENDS_S = 2.5
NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Signals:
    """What was received. Takes the signals over when it is made, except those that our parent has us ignore."""

    def __init__(self, ends_s: float = ENDS_S) -> None:
        self.received: int | None = None
        self._ends_s = ends_s
        self._reader, writer = socket.socketpair()
        writer.setblocking(False)
        self._writer = writer
        self._before = {number: signal.getsignal(number) for number in NUMBERS}
        for number, handler in self._before.items():
            if handler is not signal.SIG_IGN:  # nohup, or a shell's `&`
                signal.signal(number, self._raise)
        signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        threading.Thread(target=self._watch, daemon=True, name="signals").start()

    @property
    def exit_code(self) -> int | None:
        """The command's exit code; None where no signal came."""
        return None if self.received is None else 128 + self.received

    def close(self) -> None:
        """Give the signals back, unless one came: then the time still runs."""
        if self.received is None:
            signal.set_wakeup_fd(-1)
            for number, handler in self._before.items():
                signal.signal(number, handler)
            self._writer.close()

    def _raise(self, number: int, frame: FrameType | None) -> None:
        if self.received is None:
            self.received = number
            raise KeyboardInterrupt(number)

    def _watch(self) -> None:
        """Exit at the second signal, or when the time is up: nothing interrupts some calls of the main thread."""
        if first := self._next(None):
            family = _descendants(os.getpid())
            self._next(self._ends_s)
            for pid, began in family.items():
                if _began(pid) == began:
                    with suppress(ProcessLookupError, PermissionError):
                        os.kill(pid, signal.SIGKILL)
            os._exit(128 + first)

    def _next(self, within_s: float | None) -> int | None:
        """Return the next of our signals; None if none comes in time."""
        while select.select([self._reader], [], [], within_s)[0]:
            byte = self._reader.recv(1)
            if not byte:
                return None
            if byte[0] in NUMBERS:
                return byte[0]
        return None


def _descendants(root: int) -> dict[int, str]:
    """Return the processes that a process has started, and these, each with when it began; none without /proc."""
    parents: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*"):
        if stat := _stat(int(path.name)):
            parents.setdefault(int(stat[1]), []).append(int(path.name))
    found: dict[int, str] = {}
    left = [root]
    while left:
        children = parents.get(left.pop(), [])
        found.update((child, _began(child)) for child in children)
        left += children
    return found


def _began(pid: int) -> str:
    return (_stat(pid) or [""] * 20)[19]


def _stat(pid: int) -> list[str] | None:
    """Return what Linux says of a process after its name: state, parent, ..., the twentieth is when it began."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def orderly(call: Callable[[], int | None], ends_s: float = ENDS_S) -> int:
    """Call a program's main function with these signals, and return its exit code; after a signal, exit with it."""
    signals = Signals(ends_s)
    try:
        return call() or 0
    except BaseException:
        if signals.received is None:
            raise
        return 0  # `finally` exits: what an interrupted call raises on its way out says nothing
    finally:
        signals.close()
        if signals.exit_code is not None:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(signals.exit_code)  # the interpreter's own end takes seconds where torch and Ray are imported
