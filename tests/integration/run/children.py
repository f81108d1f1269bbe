"""Children for test_child.py, one for each `task`."""

import sys
import time
from pathlib import Path

from msgspec import Struct

from deploy.embedded.child import Child, serve
from streams.errors import PositionError

PRINTED = 200_000  # characters; a pipe holds 64 kB


class Work(Struct, frozen=True):
    """What a child is to do, and the file in which it notes that it did."""

    task: str
    file: str


class Lagging(PositionError):
    """An error whose class is not in streams.errors."""


def do(work: Work) -> None:
    """Fail, wait for the end, or start a child and wait with it."""
    if work.task == "report":
        print("x" * PRINTED)
        raise Lagging("record 7 is gone")
    if work.task == "break":
        raise ValueError("a line to find")
    if work.task == "parent":
        child = Child(__spec__.name, "grandchild", Work("busy", work.file + ".ended"), Path(work.file + ".log"))
        Path(work.file + ".half").write_text(str(child.pid))
        Path(work.file + ".half").rename(work.file)
    while work.task != "nothing":
        time.sleep(0.01)


def ending(work: Work) -> None:
    """Note in the file that the child has ended."""
    Path(work.file).write_text("ended")


if __name__ == "__main__":
    sys.exit(serve(Work, do, ending, grace_s=0.2))
