"""What of a pipeline's folder goes to the nodes of a cluster, and how a traceback of a node is read here."""

import zipfile
from pathlib import Path

import pytest

from deploy.processes.nodes import code
from deploy.processes.nodes.code import FOLDER, here, pack
from streams.errors import ConfigError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the folder of a pipeline, with much beside it."""
    top = tmp_path / "shop"
    for name in (
        "pipeline.py", "beside.py", "parts/net.py", "parts/words.txt", "parts/__pycache__/net.pyc", ".git/config",
        ".env", "venv/pyvenv.cfg", "venv/lib/torch.py", "registry/shop/tail/0", "recorded/year.csv",
    ):  # fmt: skip
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text(name)
    (top / "linked").symlink_to(tmp_path)
    return top


def packed(folder: Path, to: Path) -> list[str]:
    with zipfile.ZipFile(to) as zipped:
        return sorted(name.removeprefix(f"{FOLDER}/") for name in zipped.namelist())


def test_modules_go_along_and_what_is_hidden_or_the_registry_s_does_not(folder: Path, tmp_path: Path) -> None:
    to = tmp_path / "made" / "code.zip"
    assert pack(folder / "pipeline.py", to, [folder / "registry"]) == []
    assert packed(folder, to) == ["beside.py", "parts/net.py", "parts/words.txt", "pipeline.py", "recorded/year.csv"]
    before = to.read_bytes()
    (folder / "beside.py").touch()
    pack(folder / "pipeline.py", to, [folder / "registry"])
    assert to.read_bytes() == before, "the same files, which a node has already"


def test_what_is_large_stays_here_and_is_named(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code, "BIG_BYTES", 1_000)
    (folder / "recorded" / "year.csv").write_bytes(bytes(1_001))
    (folder / "words.bin").write_bytes(bytes(1_001))
    assert pack(folder / "pipeline.py", tmp_path / "code.zip", [folder / "registry"]) == ["recorded/", "words.bin"]
    assert packed(folder, tmp_path / "code.zip") == ["beside.py", "parts/net.py", "parts/words.txt", "pipeline.py"]
    monkeypatch.setattr(code, "MOST_BYTES", 20)
    with pytest.raises(ConfigError, match=r"too much to go to the nodes of a cluster.* in a folder of their own"):
        pack(folder / "pipeline.py", tmp_path / "code.zip")


def test_a_traceback_of_a_node_names_the_files_of_this_folder(tmp_path: Path) -> None:
    there = f"/tmp/ray/session_1/runtime_resources/working_dir_files/_ray_pkg_1/{FOLDER}/parts/net.py"
    assert here(f'  File "{there}", line 3', tmp_path) == f'  File "{tmp_path}/parts/net.py", line 3'
