"""The first hour, as a new user has it: what `init` writes works together, whatever Ray's variables say."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deploy.feed import Feed
from deploy.operate.start import FILES, start
from streams.errors import ConfigError
from streams.readers import json_request
from tests.cases import case
from tests.cases.join import until

ROOT = Path(__file__).parents[3]
CLUSTER = {  # a Ray of our own, whatever a pod of KubeRay has, and what Ray cannot read: each ended the process
    "SHADOWSTREAM_RAY_ADDRESS": "local",
    "RAY_ADDRESS": "auto",
    "RAY_worker_niceness": "abc",
    "RAY_LOG_MONITOR_MAX_OPEN_FILES": "abc",
    "RAY_CLIENT_MODE": "1",
    "RAY_USE_TLS": "1",
    "RAY_OVERRIDE_RESOURCES": "{",
}


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "shadowstream", *arguments]


@contextmanager
def running(folder: Path, words: list[str], log: Path, **variables: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a command in a folder; it is interrupted at the end, as Ctrl-C does."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | variables
    with log.open("wb") as out, subprocess.Popen(words, cwd=folder, env=environment, stdout=out, stderr=out) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGINT)


@case("streams/16", "ray#7977", "kuberay#373")
def test_what_init_writes_learns_within_minutes_whatever_a_cluster_s_variables_say(tmp_path: Path) -> None:
    subprocess.run(command("init", "shop"), cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True)
    shop, said = tmp_path / "shop", tmp_path / "said"
    with running(shop, command("run", "pipeline.py"), said, **CLUSTER) as run:
        addresses = shop / ".shadowstream" / "shop" / "embedded.json"
        version = shop / ".shadowstream" / "shop" / "champion" / "00000000.json"
        until(lambda: version.exists() or run.poll() is not None, said.read_text)
        assert run.poll() is None, said.read_text()
        for address in json.loads(addresses.read_text()).values():
            assert address in said.read_text()
        with running(shop, [sys.executable, "produce.py"], tmp_path / "produced") as produce:
            commit = shop / ".shadowstream" / "shop" / "tail" / "000000000001"
            until(lambda: commit.exists() or run.poll() is not None or produce.poll(), said.read_text)
            assert commit.exists(), said.read_text() + (tmp_path / "produced").read_text()
            status = subprocess.run(
                command("status", "pipeline.py"), cwd=shop, env=os.environ | {"PYTHONPATH": str(ROOT)},
                capture_output=True, text=True, check=True,
            )  # fmt: skip
            for address in json.loads(addresses.read_text()).values():
                assert address in status.stdout
    assert "Traceback" not in said.read_text()


def test_init_writes_one_name_everywhere(tmp_path: Path) -> None:
    written = start("a-b_1", ROOT / "examples" / "start", tmp_path / "a-b_1")
    assert [path.name for path in written] == list(FILES)
    for path in written:
        assert "my-feed" not in path.read_text()
        assert "a-b_1" in path.read_text() or path.suffix == ".toml"


LETTERS = "be letters, digits, '-' or '_'"
NAMES = {
    **dict.fromkeys(("", "a b", "../a", "a/b", "é", ".", "a.b", "a\n", "[red]", "١"), LETTERS),
    **dict.fromkeys(("_", "__", "-_"), "have a letter or a digit"),
    "x" * 201: "have at most 200 characters and not 201",
}


@pytest.mark.parametrize("name", NAMES)
def test_a_pipeline_has_the_names_that_init_writes(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        start(name, ROOT / "examples" / "start", tmp_path / "folder")
    assert f"a pipeline's name must {NAMES[name]}, got " in str(refused.value)
    assert not (tmp_path / "folder").exists()
    with pytest.raises(ConfigError, match=re.escape(f"Feed.name must {NAMES[name]}, got ")):
        Feed(name=name, prediction=json_request, outcome=json_request)  # type: ignore[arg-type]


def test_init_writes_what_is_no_option_and_as_long_as_a_feed_s_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="must begin with another character than '-', got '-a'"):
        start("-a", ROOT / "examples" / "start", tmp_path / "folder")
    assert start("_" + "x" * 199, ROOT / "examples" / "start", tmp_path / "folder")


def test_init_writes_into_an_empty_folder_only(tmp_path: Path) -> None:
    example = ROOT / "examples" / "start"
    (tmp_path / "empty").mkdir()
    assert start("empty", example, tmp_path / "empty")
    with pytest.raises(ConfigError, match="is not empty"):
        start("empty", example, tmp_path / "empty")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ConfigError, match="is a file"):
        start("file", example, tmp_path / "file")
    with pytest.raises(ConfigError, match=r"cannot write .*: No such file or directory"):
        start("deep", example, tmp_path / "no" / "deep")
