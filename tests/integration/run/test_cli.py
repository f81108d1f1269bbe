"""Bad input at the command line: what was wrong, what would be right, and an exit code for each kind."""

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import msgspec
import pytest

from deploy.cli import main as cli
from deploy.config import Settings
from deploy.embedded.services import ADDRESSES, Addresses, provided
from deploy.registry.kinds import CHAMPIONS
from deploy.registry.registry import Registry
from deploy.run.running import FIRST_VERSION
from streams.redis import Address

ROOT = Path(__file__).parents[3]
GOOD = """
from tests.small import pipeline
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder with a good pipeline.py, as the current directory."""
    (tmp_path / "pipeline.py").write_text(GOOD)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[int, str]:
    monkeypatch.setattr(sys, "argv", ["shadowstream", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0), capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import no_such_thing", "pipeline.py:1: ModuleNotFoundError: No module named 'no_such_thing'"),
        ("x = 1\ny = (", "pipeline.py:2: SyntaxError"),
        ("x = 1", "needs a module-level `pipeline = Pipeline(...)`; there is no `pipeline`"),
        ("pipeline = 3", "is of type int"),
        (
            "from shadowstream import Feed\nfeed = Feed(name='a', prediction=id, outcome=id)",
            "pipeline.py has a `feed`, of which no model learns: `shadowstream join pipeline.py` joins it",
        ),
        (
            "from shadowstream import Pipeline\npipeline = Pipeline(name='a')",
            "Pipeline needs features=...",
        ),
        (
            "from tests.small import *\nPipeline(name='a', model=1, features=Point, encode=encode)",
            "model must be a function",
        ),
    ],
)
def test_a_pipeline_that_does_not_import_or_lacks_a_part(
    text: str, said: str, project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "pipeline.py").write_text(text)
    code, err = run(capsys, monkeypatch, "run", "pipeline.py")
    assert code == 2
    assert said in err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[join]\nwindow_h = 3", "unknown key 'join.window_h'; did you mean 'join.window_s'?"),
        ("[join]\nshards = 'two'", "join.shards: Expected `int`"),
        ("[kafka", "not TOML"),
        ("[join]\njoiners = 2", "join.joiners = 2, but predictions and outcomes have 1 partitions at most"),
        ("[join]\nlate = 'correct'", "join.late = 'correct' needs join.absent = 'negative'"),
    ],
)
def test_a_toml_that_is_wrong(
    text: str, said: str, project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "shadowstream.toml").write_text(text)
    code, err = run(capsys, monkeypatch, "run", "pipeline.py")
    assert code == 2
    assert said in err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[kafka]\nbootstrap = "127.0.0.1:1"', "no Kafka broker answers at 127.0.0.1:1"),
        ('[redis]\nurl = "redis://me:secret@127.0.0.1:1/0"', "no store answers at redis://***@127.0.0.1:1/0"),
    ],
)
def test_a_service_that_is_not_there(
    text: str, said: str, project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "shadowstream.toml").write_text(text)
    code, err = run(capsys, monkeypatch, "run", "pipeline.py")
    assert code == 3
    assert said in err
    assert "secret" not in err


def test_status_of_nothing_and_a_file_that_is_not_there(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(capsys, monkeypatch, "status", "pipeline.py")[0] == 2
    code, err = run(capsys, monkeypatch, "run", "nowhere.py")
    assert code == 2
    assert "no such file: nowhere.py" in err
    assert ". is a folder; name the file in it, such as pipeline.py" in run(capsys, monkeypatch, "run", ".")[1]
    assert "cannot write no/view.svg" in run(capsys, monkeypatch, "demo", "--picture", "no/view.svg")[1]
    assert "cannot write .: it is a folder" in run(capsys, monkeypatch, "status", "pipeline.py", "--picture", ".")[1]
    assert "nowhere: No such file or directory\n" in run(capsys, monkeypatch, "inspect", "nowhere")[1]


def test_an_embedded_feed_is_not_continued_by_accident(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = Registry(project / ".shadowstream" / "small")
    registry.write(CHAMPIONS, 0, b"{}")
    code, err = run(capsys, monkeypatch, "run", "pipeline.py")
    assert code == 2
    assert "--fresh" in err


def test_a_run_that_never_began_does_not_stop_the_next(project: Path) -> None:
    Registry(project)
    settings = msgspec.structs.replace(Settings(), redis=Address(url="redis://127.0.0.1:1"))
    with provided(settings, project, lambda _: None, fresh=False, mark=FIRST_VERSION) as services:
        assert services.settings.kafka.bootstrap


def test_a_replay_without_a_feed_is_refused_before_anything_starts(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "from dataclasses import replace\nfrom tests import small\npipeline = replace(small.pipeline, feed=None)\n"
    (project / "pipeline.py").write_text(text)
    code, err = run(capsys, monkeypatch, "run", "pipeline.py", "--replay")
    assert code == 2
    assert "pipeline 'small' has no recorded feed to replay" in err
    assert not (project / ".shadowstream").exists()


def test_a_service_that_ended_with_the_run_that_embedded_it_is_said(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = project / ".shadowstream" / "small"
    folder.mkdir(parents=True)
    addresses = Addresses("127.0.0.1:1", "redis://127.0.0.1:1/0")
    (folder / ADDRESSES).write_bytes(msgspec.json.encode(addresses))
    code, err = run(capsys, monkeypatch, "audit", "pipeline.py")
    assert code == 3
    assert "; it was embedded in a run, and has ended with it" in err
    (folder / ADDRESSES).write_bytes(msgspec.json.encode(Addresses(store=addresses.store)))
    code, err = run(capsys, monkeypatch, "audit", "pipeline.py")
    assert code == 2
    assert "holds no feed" in err


@pytest.mark.parametrize("command", ["run", "join", "status", "audit"])
def test_a_registry_s_folder_that_cannot_be_is_one_line(
    command: str, project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "taken").write_text("a file")
    (project / "shadowstream.toml").write_text('[registry]\npath = "taken/deeper"\n')
    code, err = run(capsys, monkeypatch, command, "pipeline.py")
    assert code in (1, 2)
    assert "taken/deeper" in err
    assert len(err.splitlines()) == 1
    assert "Traceback" not in err


def test_addresses_that_are_damaged_are_said(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = project / ".shadowstream" / "small"
    folder.mkdir(parents=True)
    (folder / ADDRESSES).write_bytes(b"{")
    code, err = run(capsys, monkeypatch, "status", "pipeline.py")
    assert code == 2
    assert "embedded.json is damaged" in err


def test_a_wrong_argument_is_a_usage_error(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, err = run(capsys, monkeypatch, "run", "pipeline.py", "--quickly")
    assert code == 2
    assert "--quickly" in err


def start(*arguments: str, module: str = "deploy.cli.main", path: str = "") -> "subprocess.CompletedProcess[str]":
    """Run the command in a process of its own; `path` is searched for modules before all others."""
    variables = os.environ | {"PYTHONPATH": os.pathsep.join([path, str(ROOT)])}
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=300, check=False)


def test_a_client_library_that_was_not_tested_is_one_line(tmp_path: Path) -> None:
    installed = tmp_path / "kafka_python-9.9.9.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: kafka-python\nVersion: 9.9.9\n")
    ended = start("--help", path=str(tmp_path))
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("error: kafka-python 9.9.9 was not tested")
    assert len(ended.stderr.splitlines()) == 1


@pytest.mark.parametrize("module", ["deploy.cli.main", "shadowstream"])
def test_the_version_is_shown(module: str) -> None:
    ended = start("--version", module=module)
    assert (ended.returncode, ended.stdout) == (0, f"shadowstream {version('shadowstream')}\n")
