"""Versions that leave as folders, for other registries, and come back as what they were."""

import json
import sys
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest
import torch
from typer.testing import CliRunner

from compressors.artifact import format as artifact
from compressors.artifact.folder import ARTIFACT, pull
from deploy import config
from deploy.cli.commands import app
from deploy.learning.bootstrap import bootstrap
from deploy.operate.exchange import passport as passports
from deploy.operate.exchange.exporting import export
from deploy.registry.kinds import CHAMPIONS
from deploy.registry.opening import open_registry
from deploy.registry.registry import Registry
from streams.errors import ConfigError, Untrusted
from tests import small
from tests.learned import PIPELINE

FILE = """
from dataclasses import replace
from tests.learned import PIPELINE
pipeline = replace(PIPELINE, name={name!r})
"""


class Home:
    """A pipeline's file, its settings and its registry, with a first version unless it is `empty`."""

    def __init__(self, folder: Path, name: str, *, empty: bool = False) -> None:
        folder.mkdir(exist_ok=True)
        self.path, self.name = folder / "pipeline.py", name
        self.path.write_text(FILE.format(name=name))
        self.settings = msgspec.structs.replace(config.Settings(), registry=config.Registry(path=str(folder)))
        if not empty:
            bootstrap(replace(PIPELINE, name=name), self.registry)

    @property
    def registry(self) -> Registry:
        return open_registry(Path(self.settings.registry.path) / self.name)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home", "leaves")


def test_a_version_leaves_as_a_folder_with_all_that_is_known_of_it(home: Home, tmp_path: Path) -> None:
    made = export(home.path, home.settings, 0, tmp_path / "out")
    files = {file.name for file in (tmp_path / "out").iterdir()}
    assert files == {"README.md", "artifact.json", "artifact.safetensors", "config.json", "shadowstream.json"}
    kept = home.registry.record(CHAMPIONS, 0)
    assert kept is not None
    data = pull(tmp_path / "out")
    assert sha256(data).hexdigest() == made.artifact == kept.artifact
    inputs = torch.randn(64, 4)
    ours, theirs = (artifact.load(one, small.net)(inputs) for one in (home.registry.get(kept.artifact), data))
    assert torch.equal(ours, theirs)
    said = passports.read(tmp_path / "out")
    assert said == made
    assert said.champion == kept
    said.check_signed(home.registry.folder / "receipts.pub")
    card = (tmp_path / "out" / "README.md").read_text()
    for line in (f"# {home.name}, version 0", made.artifact, "- history", "recipe: `", "commits/0"):
        assert line in card
    assert card.startswith("---\nlibrary_name: shadowstream\n")


def test_a_folder_of_mlflow_s_is_read_by_mlflow(home: Home, tmp_path: Path) -> None:
    models = pytest.importorskip("mlflow.models")
    made = export(home.path, home.settings, 0, tmp_path / "out", "mlflow")
    model = models.Model.load(str(tmp_path / "out"))
    assert model.flavors["shadowstream"] == {
        "artifact": ARTIFACT, "passport": "shadowstream.json", "sha256": made.artifact,
    }  # fmt: skip
    assert model.metadata == {"feed": home.name, "version": 0, "evidence": "history"}
    assert sha256(pull(tmp_path / "out")).hexdigest() == made.artifact


def test_without_mlflow_its_format_is_one_clear_error(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow.models", None)
    with pytest.raises(ConfigError, match=r"MLflow's format needs the extra: pip install 'shadowstream\[mlflow\]'"):
        export(home.path, home.settings, 0, tmp_path / "out", "mlflow")
    assert list(tmp_path.iterdir()) == [tmp_path / "home"]  # nothing half written


def test_what_cannot_be_exported_is_said(home: Home, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no version 3; the newest is 0"):
        export(home.path, home.settings, 3, tmp_path / "out")
    with pytest.raises(ConfigError, match="is there already: --to is a new folder"):
        export(home.path, home.settings, 0, tmp_path / "home")
    with pytest.raises(ConfigError, match="there is no folder"):
        export(home.path, home.settings, 0, tmp_path / "no" / "out")
    path = CHAMPIONS.path(home.registry.folder, 0)
    path.write_bytes(path.read_bytes().replace(b'"learned":0', b'"learned":9', 1))
    with pytest.raises(Untrusted, match="champion/0 is not as it was signed"):
        export(home.path, home.settings, 0, tmp_path / "out")


def test_the_command_prints_what_it_wrote(home: Home, tmp_path: Path) -> None:
    run = CliRunner().invoke(
        app,
        ["export", str(home.path), "0", "--to", str(tmp_path / "out"), "--json"],
        env={"SHADOWSTREAM_REGISTRY_PATH": home.settings.registry.path},
    )
    assert run.exit_code == 0, run.output
    assert json.loads(run.output.splitlines()[-1])["feed"] == home.name
