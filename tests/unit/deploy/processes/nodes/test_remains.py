"""What a driver that was killed has left is ended by the next start, and nothing of anybody else's."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import psutil
import pytest

from deploy.processes.nodes.remains import NOTE, PROC, Note, Remains

GONE_S = 60.0  # against a hang alone
NEEDS_PROC = pytest.mark.skipif(not PROC.is_dir(), reason="this system does not say when a process began")
DRIVER = """
import subprocess, sys
from pathlib import Path
from deploy.processes.nodes.remains import Remains

root = subprocess.Popen(["sh", "-c", "sleep 600 & echo $!; wait"], stdout=subprocess.PIPE, start_new_session=True)
child = root.stdout.readline().decode().strip()
Remains(Path(sys.argv[1])).begun(sys.argv[2], [root.pid])
print(root.pid, child, flush=True)
sys.stdin.read()
"""


class Driver:
    """A process that has noted a process with a child of its own, and a session."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.session = folder / "feed", folder / "session_1"
        (self.session / "logs").mkdir(parents=True)
        command = [sys.executable, "-c", DRIVER, str(self.folder), str(self.session)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.process.stdout
        self.left = [psutil.Process(int(pid)) for pid in self.process.stdout.readline().split()]

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()

    def note(self, **changes: object) -> None:
        """Change the note."""
        path = self.folder / NOTE
        before = msgspec.json.decode(path.read_bytes(), type=Note)
        path.write_bytes(msgspec.json.encode(msgspec.structs.replace(before, **changes)))

    @property
    def whole(self) -> bool:
        """Whether all that it has left is there."""
        return all(map(lives, self.left)) and self.session.is_dir()


def lives(process: psutil.Process) -> bool:
    return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[Driver]:
    made = Driver(tmp_path)
    yield made
    made.kill()
    for process in made.left:
        if lives(process):
            process.send_signal(signal.SIGKILL)


@NEEDS_PROC
def test_the_next_start_ends_what_a_killed_driver_has_left(driver: Driver) -> None:
    Remains(driver.folder).clear()
    assert driver.whole  # its driver lives
    driver.kill()
    assert driver.whole
    Remains(driver.folder).clear()
    assert psutil.wait_procs(driver.left, GONE_S)[1] == []
    assert not driver.session.exists()
    assert not (driver.folder / NOTE).exists()
    Remains(driver.folder).clear()


def test_a_process_that_only_has_the_same_id_is_not_ended(driver: Driver) -> None:
    driver.kill()
    driver.note(processes={one.pid: 1 for one in driver.left})
    Remains(driver.folder).clear()
    assert all(map(lives, driver.left))


def test_nor_is_one_of_another_boot_or_machine(driver: Driver) -> None:
    driver.kill()
    driver.note(boot="another")
    Remains(driver.folder).clear()
    assert all(map(lives, driver.left))


def test_only_a_folder_of_ray_s_is_deleted(driver: Driver) -> None:
    driver.kill()
    mine = driver.session.rename(driver.session.with_name("mine"))
    driver.note(sessions=[str(mine)])
    Remains(driver.folder).clear()
    assert mine.is_dir()


def test_one_that_ends_in_order_takes_its_own_sessions_away(tmp_path: Path) -> None:
    remains, sessions = Remains(tmp_path), [tmp_path / f"session_{n}" for n in range(2)]
    for session in sessions:
        session.mkdir()
        remains.begun(str(session), [])
    remains.ended()
    assert not any(session.exists() for session in (*sessions, tmp_path / NOTE))


def test_the_note_of_one_that_took_over_stays(driver: Driver) -> None:
    taken_over, session = Remains(driver.folder), driver.folder / "session_2"
    session.mkdir()
    before = (driver.folder / NOTE).read_bytes()
    taken_over.begun(str(session), [])
    (driver.folder / NOTE).write_bytes(before)
    taken_over.ended()
    assert not session.exists()
    assert driver.whole
    assert (driver.folder / NOTE).read_bytes() == before


@pytest.mark.parametrize("written", [b"", b'{"boot":', b"[]"])
def test_a_note_that_was_cut_is_none(written: bytes, tmp_path: Path) -> None:
    (tmp_path / NOTE).parent.mkdir()
    (tmp_path / NOTE).write_bytes(written)
    Remains(tmp_path).clear()
