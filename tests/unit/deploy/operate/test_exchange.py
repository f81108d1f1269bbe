"""Versions that leave as folders, for other registries, and come back as what they were."""

import json
import shutil
import sys
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import cast

import msgspec
import pytest
import torch
from msgspec import Raw
from typer.testing import CliRunner

from compressors.artifact import format as artifact
from compressors.artifact.folder import ARTIFACT, pull, push
from deploy import config
from deploy.cli.commands import app
from deploy.learning.bootstrap import bootstrap
from deploy.learning.distiller import DistillerRole
from deploy.operate.versions import lineage
from deploy.operate.versions.exchange import passport as passports
from deploy.operate.versions.exchange.exporting import export
from deploy.operate.versions.exchange.importing import bring
from deploy.operate.versions.versions import remake
from deploy.promotion.evaluator import EvaluatorRole
from deploy.registry.kinds import CANDIDATES, CHAMPIONS, COMMITS, EVALUATOR
from deploy.registry.opening import open_registry
from deploy.registry.registry import Registry
from deploy.registry.signing import own_key
from deploy.registry.storage import Disk
from learners.commits.commit import Due, Run
from learners.evaluation.verdict import Kind
from streams.errors import ConfigError, Untrusted
from streams.events import encode
from streams.join.store import Store
from tests import small
from tests.committed import append
from tests.learned import PIPELINE

FILE = """
from dataclasses import replace
from torch import nn
from tests.learned import PIPELINE
from tests.committed import append
pipeline = replace(PIPELINE, name={name!r}{more})
"""


class Home:
    """A pipeline's file, its settings and its registry, with a first version unless it is `empty`."""

    def __init__(self, folder: Path, name: str, *, empty: bool = False, more: str = "") -> None:
        """`more` are further arguments that make another pipeline of it."""
        folder.mkdir(exist_ok=True)
        self.path, self.name = folder / "pipeline.py", name
        self.path.write_text(FILE.format(name=name, more=more))
        self.settings = msgspec.structs.replace(config.Settings(), registry=config.Registry(path=str(folder)))
        self.settings = msgspec.structs.replace(
            self.settings, kafka=config.Kafka(bootstrap="a:9092"), serve=config.Serve(engines=False)
        )
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


@pytest.fixture
def out(home: Home, tmp_path: Path) -> Path:
    """A folder with the version."""
    export(home.path, home.settings, 0, tmp_path / "out")
    return tmp_path / "out"


def test_a_folder_becomes_the_first_version_of_an_empty_registry(home: Home, out: Path, tmp_path: Path) -> None:
    new = Home(tmp_path / "new", "arrives", empty=True)
    made = bring(new.path, new.settings, out, why="a head start", who="ann", key=home.registry.folder / "receipts.pub")
    theirs, ours = (one.registry.record(CHAMPIONS, 0) for one in (home, new))
    assert theirs is not None
    assert ours is not None
    assert (made.candidate, made.artifact, ours.artifact) == (None, theirs.artifact, theirs.artifact)
    rows = torch.randn(64, 4)
    answers = [artifact.load(one.registry.get(made.artifact), small.net)(rows) for one in (home, new)]
    assert torch.equal(*answers)
    shown = lineage.show(new.path, new.settings, 0)
    assert shown.version.brought == f"imported: version 0 of {home.name}: a head start (ann)"
    assert shown.version.signed != lineage.show(home.path, home.settings, 0).version.signed  # by this registry's key
    with pytest.raises(ConfigError, match="version 0 was made elsewhere, and nothing here can make it again: imported"):
        remake(new.path, new.settings, 0)
    export(new.path, new.settings, 0, tmp_path / "again")  # and on to the next
    assert pull(tmp_path / "again") == pull(out)


def learn(home: Home, number: int, due: Due | None = None) -> None:
    """Have 60 more samples committed."""
    samples, registry = small.samples(60, start=60 * number), home.registry
    first, newest_ms = registry.record(COMMITS, 0), samples[-1].t
    assert first is not None
    made = msgspec.structs.replace(
        first, number=number, learned=60 * number, due=due, shadow=[[0.0]] * 60, batches=[60],
        samples=[Raw(encode(one)) for one in samples], runs=[Run(0, 60 * number - 59, 60)], watermark_ms=newest_ms,
        latest_ms=newest_ms, state=first.state if due else None,
    )  # fmt: skip
    append(registry, made)


class Board:
    """Keeps the newest notes."""

    def __init__(self) -> None:
        self.notes: dict[str, bytes] = {}

    def put(self, feed: str, notes: dict[str, bytes]) -> None:
        self.notes |= notes


def trials(home: Home) -> list[tuple[int, int]]:
    """Let an evaluator take all there is; return its trials: the candidate, and how many samples count."""
    board = Board()
    role = EvaluatorRole(replace(PIPELINE, name=home.name), small.timing(1), cast(Store, board), home.registry)
    while role.step(0):
        pass
    note = EVALUATOR.read(board.notes["evaluator"])
    assert note is not None
    return [(trial.candidate, trial.samples + trial.waiting) for trial in note.trials]


def test_where_something_serves_it_becomes_a_candidate_that_must_prove_itself(out: Path, tmp_path: Path) -> None:
    here = Home(tmp_path / "here", "judges", more=", seed=7")
    learn(here, 1)
    learn(here, 2)
    made = bring(here.path, here.settings, out, why="theirs is better", who="ann")
    candidate = here.registry.record(CANDIDATES, 0)
    assert candidate is not None
    assert (made.candidate, candidate.artifact, candidate.commit) == (0, made.artifact, 2)
    assert (candidate.kind, candidate.by, candidate.refused) == (Kind.OTHER, "ann", None)
    assert candidate.reason == "imported: version 0 of leaves: theirs is better"
    assert made.loss is not None
    assert 0 < made.loss < 2
    assert trials(here) == [(0, 0)]  # nothing of before counts
    learn(here, 3)
    ((number, counted),) = trials(here)
    assert (number, counted > 0) == (0, True)
    with pytest.raises(ConfigError, match="candidate 0 is this artifact already"):
        bring(here.path, here.settings, out, why="again")


@pytest.mark.parametrize("at", [1, 2])
def test_what_is_imported_while_another_candidate_is_being_made(out: Path, tmp_path: Path, at: int) -> None:
    """The evaluator waits for one of commit 1; one is imported at commit 1 or 2, whose maker may know both by then."""
    here = Home(tmp_path / "here", "waits", more=", seed=7")
    for number in range(1, at + 1):
        learn(here, number, Due("schedule", small.START_MS) if number == 1 else None)
    bring(here.path, here.settings, out, why="theirs is better")
    distiller = DistillerRole(replace(PIPELINE, name=here.name), cast(Store, Board()), here.registry)
    while distiller.step(0):
        pass
    assert [(one.commit, bool(one.by)) for one in here.registry.records(CANDIDATES)] == [(at, True), (1, False)]
    for number in range(at + 1, 3):
        learn(here, number)
    assert (dict(trials(here))[0] == 0) == (at == 2)
    learn(here, 3)
    theirs, ours = (dict(trials(here))[number] for number in (0, 1))
    assert 0 < theirs <= ours
    assert (theirs < ours) == (at == 2)


def test_what_cannot_be_imported_is_one_clear_line(home: Home, out: Path, tmp_path: Path) -> None:
    def refused(folder: Path, to: Home = home, key: Path | None = None) -> str:
        with pytest.raises((ConfigError, Untrusted)) as wrong:
            bring(to.path, to.settings, folder, why="a test", key=key)
        assert "\n" not in str(wrong.value)
        return str(wrong.value)

    def copied(name: str) -> Path:
        return Path(shutil.copytree(out, tmp_path / name))

    assert refused(tmp_path / "nowhere") == f"there is no folder {tmp_path / 'nowhere'}"
    (missing := copied("missing") / ARTIFACT).unlink()
    assert f"has no {ARTIFACT}" in refused(missing.parent)
    (cut := copied("cut") / ARTIFACT).write_bytes((out / ARTIFACT).read_bytes()[:-9])
    assert str(cut.parent) in refused(cut.parent)
    (flipped := copied("flipped") / ARTIFACT).write_bytes((out / ARTIFACT).read_bytes()[:-1] + b"!")
    assert str(flipped.parent) in refused(flipped.parent)
    (other := copied("other") / ARTIFACT).write_bytes(artifact.with_manifest((out / ARTIFACT).read_bytes(), {}))
    assert "is not the one that shadowstream.json names: its SHA-256 is" in refused(other.parent)
    said = (out / "shadowstream.json").read_text()
    for name, text, why in (
        ("torn", said[:99], "is not as `shadowstream export` wrote it"),
        ("newer", said.replace('"format": 1', '"format": 2', 1), "has format 2; this version reads 1"),
        ("renamed", said.replace('"version": 0', '"version": 4', 1), "was changed: its record is not of version 4"),
    ):
        (changed := copied(name) / "shadowstream.json").write_text(text)
        assert why in refused(changed.parent)
    strange = own_key(Disk(tmp_path))
    assert strange.public
    assert "was signed by the key" in refused(out, key=tmp_path / "receipts.pub")
    (unsaid := copied("unsaid") / "shadowstream.json").unlink()
    assert "there is nothing that" in refused(unsaid.parent, key=tmp_path / "receipts.pub")
    assert "version 0 is this artifact" in refused(out)
    fresh = Home(tmp_path / "fresh", "fresh", more=", seed=7")
    assert "has learned no sample yet" in refused(out, fresh)
    wide = Home(tmp_path / "wide", "wide", empty=True, more=", model=lambda: nn.Linear(4, 1)")
    assert "holds another model than pipeline 'wide': the artifact does not fit this model" in refused(out, wide)
    embedded = Home(tmp_path / "embedded", "embedded", empty=True)
    embedded.settings = msgspec.structs.replace(embedded.settings, kafka=config.Kafka())
    assert "its broker is embedded: each run begins such a feed anew" in refused(out, embedded)
    with pytest.raises(ConfigError, match="--why needs a reason"):
        bring(home.path, home.settings, out, why=" ")


def test_a_folder_of_compress_is_taken_too_and_of_mlflow_only_ours(home: Home, out: Path, tmp_path: Path) -> None:
    push(pull(out), tmp_path / "plain")
    new = Home(tmp_path / "new", "plain", empty=True)
    assert bring(new.path, new.settings, tmp_path / "plain", why="a test").source.startswith("imported from ")
    models = pytest.importorskip("mlflow.models")
    export(home.path, home.settings, 0, tmp_path / "ml", "mlflow")
    other = Home(tmp_path / "other", "other", empty=True)
    assert bring(other.path, other.settings, tmp_path / "ml", why="a test").artifact == sha256(pull(out)).hexdigest()
    (tmp_path / "sk").mkdir()
    made = models.Model()
    made.add_flavor("sklearn")
    made.save(str(tmp_path / "sk" / "MLmodel"))
    with pytest.raises(ConfigError, match="is an MLflow model of sklearn, not of shadowstream"):
        bring(home.path, home.settings, tmp_path / "sk", why="a test")
    (tmp_path / "sk" / "MLmodel").write_text("\t{")
    with pytest.raises(ConfigError, match="MLmodel cannot be read: "):
        bring(home.path, home.settings, tmp_path / "sk", why="a test")


def test_the_commands_take_what_they_wrote(home: Home, tmp_path: Path) -> None:
    new, out = Home(tmp_path / "new", "new", empty=True), tmp_path / "out"

    def run(of: Home, *words: str) -> dict[str, object]:
        env = {"SHADOWSTREAM_REGISTRY_PATH": of.settings.registry.path, "SHADOWSTREAM_KAFKA_BOOTSTRAP": "a:9092"}
        ran = CliRunner().invoke(app, [words[0], str(of.path), *words[1:], "--json"], env=env)
        assert ran.exit_code == 0, ran.output
        told: dict[str, object] = json.loads(ran.output.splitlines()[-1])
        return told

    wrote = run(home, "export", "0", "--to", str(out))
    took = run(new, "import", str(out), "--why", "a test", "--key", str(home.registry.folder / "receipts.pub"))
    assert took["artifact"] == wrote["artifact"]
    shown = run(new, "show", "0")["version"]
    assert isinstance(shown, dict)
    assert str(shown["brought"]).startswith(f"imported: version 0 of {home.name}: a test (")
