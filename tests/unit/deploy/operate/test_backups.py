"""The command backup: what it says, and where it refuses."""

import json
from pathlib import Path

import pytest

from deploy.cli.main import main
from deploy.registry.kinds import CHAMPIONS, COMMITS
from deploy.registry.opening import open_registry
from tests.committed import empty
from tests.unit.deploy.console.views import champion


def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[int, str, str]:
    monkeypatch.setattr("sys.argv", ["shadowstream", "backup", "pipeline.py", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr()
    return int(ended.value.code or 0), said.out, " ".join(said.err.split())


def test_it_says_what_is_there_and_what_was_new_or_why_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("pipeline.py").write_text("from tests.small import pipeline\n")
    code, _, err = run(capsys, monkeypatch, "--to", "copies")
    assert (code, "small has no commit: use the working directory of the run" in err) == (2, True)
    registry = open_registry(tmp_path / ".shadowstream" / "small")
    registry.create(COMMITS, 0, empty(0))
    registry.create(CHAMPIONS, 0, champion(0, None))
    for within in (".shadowstream", ".shadowstream/small/copies"):
        code, _, err = run(capsys, monkeypatch, "--to", within)
        assert (code, "is in the registry itself; name another folder" in err) == (2, True)
    code, out, err = run(capsys, monkeypatch, "--to", "copies", "--json")
    assert (code, json.loads(out)["commit"], json.loads(out)["records"]) == (0, 0, 1)
    assert "commits up to 0 and 1 records; new: 4 files" in err
    assert "new: 0 files" in run(capsys, monkeypatch, "--to", "copies")[2]
    assert open_registry(tmp_path / "copies" / "small").record(CHAMPIONS, 0) == champion(0, None)
    Path("file").write_text("x")
    code, _, err = run(capsys, monkeypatch, "--to", "file")
    assert (code, "Traceback" not in err) == (1, True)
    assert "file" in err
