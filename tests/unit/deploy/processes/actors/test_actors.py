"""Ray on a busy machine: what Ray had too little time for is tried again; other failures are errors of ours."""

import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from ray.exceptions import ActorDiedError, RayTaskError

from deploy.processes.actors.actor import error_of
from deploy.processes.failures import failure
from deploy.processes.nodes import node
from streams.errors import ConfigError, LostRace, RayUnreachable, RoleDied


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return what each start of Ray will fail with, "" for not at all; a start takes the first away."""
    failures: list[str] = []

    def init(**_: Any) -> None:
        if failure := failures.pop(0):
            raise Exception(failure)

    monkeypatch.setattr("ray.init", init)
    return failures


def test_a_start_that_ray_gave_too_little_time_is_tried_again(starts: list[str]) -> None:
    starts += ["The current node timed out during startup. This could", "", "not tried"]
    node.start(None)
    assert starts == ["not tried"]


@pytest.mark.parametrize("failures", [["no such address", "not tried"], ["it timed out during startup"] * 5])
def test_any_other_failure_and_the_last_are_raised(starts: list[str], failures: list[str]) -> None:
    starts += failures
    with pytest.raises(RayUnreachable, match=f"Ray does not start on this machine: {failures[0]}"):
        node.start(None)
    assert starts == [one for one in failures if one == "not tried"]


def test_a_folder_with_too_long_a_path_says_what_to_set(starts: list[str]) -> None:
    starts.append("validate_socket_filename failed: AF_UNIX path length cannot exceed 107 bytes: /tmp/...")
    with pytest.raises(ConfigError, match="set the variable RAY_TMPDIR to a short one"):
        node.start(None)


def test_an_address_where_nothing_answers_is_not_tried_for_minutes(starts: list[str]) -> None:
    with pytest.raises(
        RayUnreachable, match=r"no Ray cluster answers at 127\.0\.0\.1:1 \(ray\.address\): Connection refused"
    ):
        node.start("127.0.0.1:1")
    starts.append("Could not find any running Ray instance.\nPlease specify one")
    with pytest.raises(
        RayUnreachable, match=r"no Ray cluster can be joined at auto \(ray\.address\): Could not find any"
    ):
        node.start("auto")


@pytest.fixture
def other_server() -> Iterator[int]:
    """A server that says what Redis says to a request of another kind; its port."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:

        def answer() -> None:
            with server.accept()[0] as client:
                client.recv(64)
                client.sendall(b"-ERR unknown command")

        threading.Thread(target=answer, daemon=True).start()
        yield server.getsockname()[1]


def test_another_kind_of_server_is_not_taken_for_a_cluster(other_server: int) -> None:
    with pytest.raises(RayUnreachable, match="is not the head of a Ray cluster"):
        node.start(f"127.0.0.1:{other_server}")


def test_an_error_of_a_user_s_function_is_one_line_and_a_file(tmp_path: Path) -> None:
    pipeline = tmp_path / "mine" / "pipeline.py"
    trace = f'Traceback:\n  File "{pipeline}", line 12, in encode\n  File "/usr/lib/json.py", line 3\nValueError: bad\n'
    wrong = failure("server", ValueError("bad\nand more"), trace, pipeline, tmp_path / "services")
    file = tmp_path / "services" / "server.error"
    assert str(wrong) == f"the server ended: pipeline.py:12: ValueError: bad; its traceback is in {file}"
    assert file.read_text() == trace


def test_where_no_file_can_be_written_an_error_says_so_and_ends_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "services").touch()  # where a folder is wanted
    wrong = failure("learner", ValueError("bad"), "Traceback", tmp_path / "pipeline.py", tmp_path / "services")
    assert "ValueError: bad; its traceback cannot be written to " in str(wrong)
    node.Node(None, tmp_path).end_broken([])


@pytest.mark.parametrize(
    ("cause", "said"),
    [
        (
            KeyError("too young\nfor us"),
            "the server ended: pipeline.py:12: KeyError: 'too young\\nfor us'; its",
        ),
        (LostRace("ours"), "ours"),
    ],
)
def test_an_actor_s_error_is_one_of_ours(
    cause: Exception, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = tmp_path / "pipeline.py"
    trace = f'ray::Actor.run()\n  File "{pipeline}", line 12, in encode\n{type(cause).__name__}'

    def get(_: object) -> None:
        raise RayTaskError("Actor.run", trace, cause).as_instanceof_cause()

    monkeypatch.setattr("ray.get", get)
    wrong = error_of("server", object(), pipeline, tmp_path)
    assert str(wrong).startswith(said)
    assert str(wrong).isprintable()
    monkeypatch.setattr("ray.get", lambda _: (_ for _ in ()).throw(ActorDiedError()))
    assert isinstance(error_of("server", object(), pipeline, tmp_path), RoleDied)
