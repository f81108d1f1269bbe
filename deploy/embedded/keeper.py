"""The process between a parent and a program that is not ours, so that the program never outlives the parent.

Runs as `python keeper.py PARENT_PID COMMAND...` in a session of its own, which Ctrl-C in a terminal does not reach. Its
standard input is a pipe that only the parent holds. When the pipe closes, or the parent is gone, the keeper sends
SIGTERM to the command and all it started, and SIGKILL `GRACE_S` later; a byte in the pipe kills them at once, as a
crash would. Imports the standard library only.
"""

import ctypes
import os
import select
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress

GRACE_S = 10.0  # between SIGTERM and SIGKILL; Apache Kafka needs about 2
LOOK_EVERY_S = 1.0
PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main(parent: int, command: list[str]) -> int:
    """Run the command until it or the parent ends; return its exit code, 128 + n if signal n ended it."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):  # of a broad pkill: we end when the parent does
        signal.signal(number, lambda *_: None)
    try:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, process_group=0, preexec_fn=_end_with_keeper)
    except OSError as wrong:
        sys.exit(f"cannot start it: {wrong}")
    threading.Thread(target=_end_with_parent, args=(parent, child.pid), daemon=True).start()
    code = child.wait()
    _signal(child.pid, signal.SIGKILL)  # what it may have started and left
    return code if code >= 0 else 128 - code


def await_end(parent: int) -> bytes:
    """Wait until the parent has closed our standard input or is gone; return the byte that it may write instead.

    A process that the parent forked may hold the pipe open after its end, hence the look at the parent as well.
    """
    while os.getppid() == parent and not select.select([0], [], [], LOOK_EVERY_S)[0]:
        pass
    return os.read(0, 1) if os.getppid() == parent else b""


def _end_with_parent(parent: int, group: int) -> None:
    if not await_end(parent):
        _signal(group, signal.SIGTERM)
        time.sleep(GRACE_S)
    _signal(group, signal.SIGKILL)


def _signal(group: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):  # macOS refuses for a group of which only zombies are left
        os.killpg(group, number)


def _end_with_keeper() -> None:
    """Have the kernel end the command if even the keeper is killed; only Linux can."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
