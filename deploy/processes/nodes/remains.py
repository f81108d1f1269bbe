"""What a Ray of our own leaves behind: the folders of its sessions, and, where its driver is killed, processes.

Some of these live on for a minute. Owns the note of them in the feed's folder, by which the next start ends them, and
taking them away. Another's are never touched: a process must have begun when the note says, since the same boot.
Does not know Ray.
"""

import os
import shutil
import signal
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import msgspec
from msgspec import Struct

from deploy.registry.runs import RUNS

NOTE = f"{RUNS}/ray.json"  # in a feed's folder, of which a fresh start leaves it
PROC = Path("/proc")  # without it, as on macOS, processes are left to end by themselves
BOOT = PROC / "sys/kernel/random/boot_id"
PARENT, BEGAN = 1, 19  # words of /proc/PID/stat after the program's name: the parent, and ticks from boot to its start
SESSION = "session_"


class Note(Struct, frozen=True):
    """The boot in which it was written, the driver, what else its Ray consists of, and the folders of its sessions.

    Processes are their ids with their starts, in ticks since the boot.
    """

    boot: str = ""
    driver: dict[int, int] = {}
    processes: dict[int, int] = {}
    sessions: list[str] = []


class Remains:
    """The note in a feed's folder, in which one driver after the other writes."""

    def __init__(self, folder: Path) -> None:
        self._path, self._sessions = folder / NOTE, list[str]()

    def begun(self, session: str, roots: Iterable[int]) -> None:
        """Note that this process has begun a Ray, which has its files in `session`; `roots` are its processes."""
        self._sessions.append(session)
        note = Note(_boot(), _began({os.getpid()}), _began(_families(set(roots))), self._sessions)
        with suppress(OSError):  # a disk that is full ends no run
            self._path.parent.mkdir(parents=True, exist_ok=True)
            draft = self._path.with_suffix(".draft")
            draft.write_bytes(msgspec.json.encode(note))
            draft.replace(self._path)

    def ended(self) -> None:
        """Take the sessions of this process away; its Rays have ended. The note may be of one that took over."""
        mine = os.getpid() in self._read().driver
        self._forget(self._sessions, note=mine)
        self._sessions = []

    def clear(self) -> None:
        """End what an earlier driver has left, and take its sessions away; one that lives keeps all."""
        note = self._read()
        if note.boot == _boot():
            if note.driver and note.driver == _began(note.driver):
                return
            for pid, began in note.processes.items():
                if _began({pid}) == {pid: began}:
                    with suppress(ProcessLookupError, PermissionError):
                        os.kill(pid, signal.SIGKILL)
        self._forget(note.sessions, note=True)

    def _read(self) -> Note:
        with suppress(OSError, msgspec.DecodeError):  # there is none, or power was lost
            return msgspec.json.decode(self._path.read_bytes(), type=Note)
        return Note()

    def _forget(self, sessions: Iterable[str], *, note: bool) -> None:
        """Delete the folders, and the note, if that is asked, once none of them is left."""
        folders = [folder for folder in map(Path, sessions) if folder.name.startswith(SESSION)]
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
        if note and not any(folder.exists() for folder in folders):
            with suppress(OSError):
                self._path.unlink(missing_ok=True)


def _began(pids: Iterable[int]) -> dict[int, int]:
    """Return those processes that there are, with their starts."""
    return {pid: int(words[BEGAN]) for pid in pids if (words := _stat(pid))}


def _stat(pid: int) -> list[str]:
    """Return the words of a process's /proc/PID/stat after its program's name, which may hold spaces."""
    with suppress(OSError):
        return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    return []


def _families(roots: set[int]) -> set[int]:
    """Return the processes and all that descend from them."""
    pids = [int(one.name) for one in PROC.glob("[0-9]*")]
    parents = {pid: int(words[PARENT]) for pid in pids if (words := _stat(pid))}
    while more := {pid for pid, parent in parents.items() if parent in roots} - roots:
        roots = roots | more
    return roots


def _boot() -> str:
    with suppress(OSError):
        return BOOT.read_text().strip()
    return ""
