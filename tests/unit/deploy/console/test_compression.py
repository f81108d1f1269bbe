"""The commands for models alone: a pipeline's file in, an artifact and tables out."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from rich.progress import Progress
from typer.testing import CliRunner

from deploy.cli.compress import app
from deploy.console.versions.compression import Bars, show, show_advice
from deploy.operate.compressing import advise_pipeline, compress_pipeline, read_budget
from streams.errors import ConfigError


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    path = tmp_path / "pipeline.py"
    path.write_text("from tests.small import pipeline\n")
    return path


def test_a_pipeline_is_compressed_and_its_artifact_shown(pipeline: Path) -> None:
    out = pipeline.with_name("small.safetensors")
    ran = CliRunner().invoke(
        app, ["compress", str(pipeline), "--recipe", "quantize(int8)", "--out", str(out), "--json"]
    )
    assert ran.exit_code == 0, ran.output
    said = json.loads(ran.stdout.splitlines()[-1])
    assert set(said) == {"path", "loss_before", "loss_after", "artifact", "parity", "recipe"}
    assert (said["path"], said["recipe"]) == (str(out), "quantize(int8)")
    shown = CliRunner().invoke(app, ["inspect", str(out)]).stdout
    assert "0.weight" in shown
    assert "16×4" in shown
    assert "pipeline: small" in shown


def test_recipes_are_tried_and_one_is_named(pipeline: Path) -> None:
    console, steps, trials = Console(width=200, record=True), [], []
    advice = advise_pipeline(
        pipeline, "bytes=20000", ["quantize(int8)"], None, lambda *at: steps.append(at), lambda *at: trials.append(at)
    )
    show_advice(console, advice)
    shown = console.export_text()
    assert "the model as it is" in shown
    assert "quantize(int8): recipes that fit the budget: 1" in shown
    name = "training on 1,000 rows of history"
    assert steps == [(name, 0, 0), (name, 1, 1)]
    assert [(done, of) for done, of, _ in trials] == [(n, len(trials)) for n in range(1, len(trials) + 1)]


def test_bars_follow_the_steps() -> None:
    progress = Progress("{task.fields[left]}", disable=True)
    bars = Bars(progress)
    for step in (("training", 0, 0), ("training", 1, 1), ("distill", 1, 3), ("distill", 2, 3)):
        bars.step(*step)
    bars.trial(1, 4, 20.4)
    assert [(one.description, one.completed, one.total) for one in progress.tasks] == [
        ("training", 1, 1), ("distill", 2, 3), ("recipes", 1, 4),
    ]  # fmt: skip
    assert progress.tasks[-1].fields["left"] == "about 20 s left"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["compress", "--out", "{}/none/a.safetensors"], "cannot write .*: there is no folder .*none"),
        (["advise", "--notes", "{}/none/notes"], "cannot write .*: there is no folder .*none"),
        (["advise", "--picture", "{}/none/a.svg"], "cannot write .*: there is no folder .*none"),
        (["advise", "--picture", "{}/a.txt"], "a picture's file ends in .png, .svg, .pdf, got .*a.txt"),
    ],
)
def test_a_file_that_cannot_be_written_is_refused_before_the_work(
    pipeline: Path, arguments: list[str], message: str
) -> None:
    command, option, path = arguments
    pipeline.write_text("raise RuntimeError('the work begins')")
    ran = CliRunner().invoke(app, [command, str(pipeline), option, path.format(pipeline.parent)])
    assert isinstance(ran.exception, ConfigError)
    assert re.search(message, str(ran.exception))


def test_an_artifact_larger_than_its_model_is_called_larger(pipeline: Path) -> None:
    console = Console(width=200, record=True)
    _, made = compress_pipeline(pipeline, "quantize(int8)", pipeline.with_name("a"), lambda *_: None)
    show(console, replace(made.description, float_bytes=100))
    assert re.search(r"bytes, in float 100: \d+\.\d times larger", console.export_text())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("weight=3", "a budget has no 'weight'; it has latency_us, bytes"),
        ("bytes=few", "'bytes=few' should be bytes=NUMBER"),
        ("rows=inf", "'rows=inf' should be rows=NUMBER"),
        ("minutes=0", "budget.minutes must be positive"),
    ],
)
def test_a_budget_that_cannot_be_read_is_refused(pipeline: Path, text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read_budget(text)
    with pytest.raises(ConfigError, match=said):
        advise_pipeline(pipeline, text, [], None, lambda *_: None, lambda *_: None)
