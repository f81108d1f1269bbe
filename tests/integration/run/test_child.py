"""A child process: takes its work, reports its error, and ends with its parent, whatever either is doing."""

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from deploy.embedded.child import Child
from streams.errors import PositionError, ShadowstreamError
from tests.integration.run.children import PRINTED, Work
from tests.services.redis import until

LONG_S = 300.0  # against a hang alone


class Started:
    """Starts children, and keeps a list of them."""

    def __init__(self, folder: Path) -> None:
        self.file, self.log, self.children = folder / "file", folder / "log", list[Child[Work]]()

    def __call__(self, task: str) -> Child[Work]:
        child = Child("tests.integration.run.children", "writer", Work(task, str(self.file)), self.log)
        self.children.append(child)
        return child


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Started]:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
    started = Started(tmp_path)
    yield started
    for child in started.children:
        child.kill()
        child.wait(LONG_S)


def test_its_error_comes_back_by_the_nearest_class_and_what_it_printed_is_in_its_log(start: Started) -> None:
    child = start("report")
    until(lambda: child.exit_code is not None)
    error = child.error()
    assert type(error) is PositionError
    assert str(error) == "record 7 is gone"
    assert child.exit_code == PositionError.exit_code
    assert start.log.read_text() == "x" * PRINTED + "\n"


def test_any_other_error_is_said_by_exit_code_and_the_last_line_of_the_log(start: Started) -> None:
    child = start("break")
    until(lambda: child.exit_code is not None)
    error = child.error()
    assert type(error) is ShadowstreamError
    assert str(error) == f"the writer ended with exit code 1: ValueError: a line to find; its log is {start.log}"


def test_it_ends_in_order_when_it_is_done(start: Started) -> None:
    child = start("nothing")
    until(lambda: child.exit_code is not None)
    assert child.exit_code == 0
    assert not start.file.exists()


def test_one_that_is_asked_to_leave_is_told_so_and_ends_though_it_is_busy(start: Started) -> None:
    child = start("busy")
    child.leave()
    child.wait(LONG_S)
    assert child.exit_code == 1
    assert start.file.read_text() == "ended"


def test_it_ends_when_its_parent_is_killed(start: Started) -> None:
    parent = start("parent")
    until(start.file.exists)
    grandchild = psutil.Process(int(start.file.read_text()))
    parent.kill()
    grandchild.wait(LONG_S)
    assert start.file.with_suffix(".ended").read_text() == "ended"
