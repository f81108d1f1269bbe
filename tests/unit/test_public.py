"""A pipeline of each task, from public names alone: its first version, learning, evaluation."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from msgspec import Raw
from rich.console import Console
from torch import nn

import shadowstream
from compressors.agreement import check_labels
from deploy.console.versions.compression import show
from deploy.learning.bootstrap import bootstrap
from deploy.learning.candidates import make_learner
from deploy.operate.compressing import read
from deploy.promotion.said import metrics
from deploy.registry.kinds import CHAMPIONS
from deploy.registry.notes import Metrics
from deploy.registry.registry import Registry
from deploy.serving.champion import Served
from learners.commits.commit import Commit, Run
from learners.evaluation.evaluate import Evaluator
from learners.evaluation.trials.trial import Entry
from learners.evaluation.trials.trials import Reign
from learners.evaluation.verdict import Kind
from learners.online.batches import Encoder
from shadowstream import (
    Bandit,
    Binary,
    Classes,
    Data,
    Distill,
    Labelled,
    MultiLabel,
    NextToken,
    Online,
    Pipeline,
    Prune,
    Quantile,
    Quantize,
    Ranking,
    Recipe,
    Regression,
    SequenceScore,
    Task,
    compress,
    describe_artifact,
    load_artifact,
)
from streams.events import Prediction, Sample, Target
from tests import small


def test_every_public_name_is_there() -> None:
    assert all(getattr(shadowstream, name) is not None for name in shadowstream.__all__)


@pytest.mark.parametrize(
    ("task", "measured"),
    [
        (Binary(), ["log loss", "AUC"]),
        (Classes(("low", "middle", "high")), ["log loss", "accuracy"]),
        (MultiLabel(("first", "second")), ["log loss", "AUC"]),
        (Regression(), ["Huber loss", "mean absolute error"]),
        (Bandit(2, baseline=0.5), ["policy loss", "reward, self-normalized"]),
        (Bandit(2, doubly_robust=True, logged=True), ["policy loss", "reward, self-normalized"]),
        (Ranking(2), ["pair loss", "pairs in order"]),
        (NextToken(3, places=2), ["token loss", "perplexity", "top-1"]),
        (SequenceScore(2), ["sequence loss", "score, self-normalized"]),
        (Quantile(0.5), ["quantile loss", "coverage"]),
    ],
)
def test_a_pipeline_of_each_task(task: Task, measured: list[str], tmp_path: Path) -> None:
    def label(row: Labelled) -> Any:
        above = [x > 0 for x in row.features.x[:2]]
        if isinstance(task, Bandit):
            return {"action": int(above[0]), "reward": float(above[0] == above[1]), "propensity": 0.5}
        if isinstance(task, SequenceScore):
            return {"score": [float(x) for x in above], "log_likelihood": [-1.0, -1.0]}
        if isinstance(task, Ranking | NextToken):
            return [float(x) for x in above]
        if isinstance(task, MultiLabel):
            return [name for name, on in zip(("first", "second"), above, strict=True) if on]
        return ("low", "middle", "high")[sum(above)] if isinstance(task, Classes) else row.label

    def heard(row: Labelled) -> Target:
        alone = isinstance(task, Bandit) and task.logged and isinstance(row.label, dict)
        return task.target(row.label["reward"] if alone else row.label)  # type: ignore[index,call-overload,arg-type]

    def asked(row: Labelled) -> bytes:
        done = row.label if isinstance(row.label, dict) else {}
        return msgspec.json.encode({"x": row.features.x, **done})

    def history() -> Iterator[Labelled]:
        return (Labelled(row.features, label(row)) for row in small.history())

    pipeline = Pipeline(
        name="each",
        model=lambda: nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, task.outputs)),
        features=small.Point,
        encode=small.encode,
        task=task,
        recipe=Recipe(Prune(amount=0.5), Quantize("int8"), Distill(passes=10)),
        online=Online(history_passes=60),
        history=history,
    )
    registry = Registry(tmp_path)
    assert bootstrap(pipeline, registry)
    champion, rows = Served(registry, pipeline.model), list(history())[:50]
    outputs = champion.answer(small.encode([r.features for r in rows])).tolist()
    none = (0.0,) * task.outputs
    samples = [
        Sample(
            str(i),
            "joined",
            0,
            small.START_MS + i,
            heard(row),
            small.START_MS + i + 1,
            Prediction(str(i), small.START_MS + i, 0, tuple(output), none, 0, Raw(asked(row))),
        )
        for i, (row, output) in enumerate(zip(rows, outputs, strict=True))
    ]
    learner = make_learner(pipeline)
    shadow = learner.learn(samples).tolist()
    assert (learner.intercept.value == none) == isinstance(task, Ranking | SequenceScore)
    encoder = Encoder(pipeline.features, pipeline.encode)
    check_labels(task, encoder.data(samples, task).labels)
    first = Reign(0, "first", pipeline.model(), -1)
    evaluator = Evaluator(task, encoder, pipeline.promotion, 0.01, small.timing(), first, {0: "first"}.get)
    commit = Commit(
        number=1,
        parent="",
        learned=50,
        samples=[Raw(msgspec.json.encode(s)) for s in samples],
        runs=[Run(0, 1, 50)],
        batches=[50],
        shadow=shadow,
        intercept=learner.intercept.value,
        positions={},
        watermark_ms=small.START_MS,
        latest_ms=small.START_MS,
        fingerprint="",
    )
    assert evaluator.take(commit) == []
    assert evaluator.start(Entry(0, "other", Kind.REFRESH, commit.latest_ms), pipeline.model()) == []
    scores = evaluator.measured.totals()
    assert scores["served"].count == 50
    assert scores["served"].loss < scores["shadow"].loss  # trained on history, against untrained
    note = msgspec.json.decode(msgspec.json.encode(metrics(evaluator)), type=Metrics)
    assert [one.name for one in note.names] == measured
    assert [list(row.values) for row in note.total.values()] == [measured] * 5


def test_every_public_name_is_there_and_a_feed_loads_no_torch() -> None:
    code = (
        "import sys, shadowstream as s; from shadowstream import Feed, fields; assert 'torch' not in sys.modules; "
        "assert all(getattr(s, name) for name in s.__all__); assert 'torch' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_commands_of_a_feed_without_a_model_load_no_torch() -> None:
    code = (
        "import sys, deploy.cli.commands as c; from typer.main import get_command; "
        "assert {'join', 'status', 'audit', 'dead'} <= get_command(c.app).commands.keys(); "
        "assert 'torch' not in sys.modules; assert {'run', 'advise'} <= set(get_command(c.app).list_commands(None))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_the_loop_makes_says_what_made_it(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    assert bootstrap(small.pipeline, registry)
    record = registry.record(CHAMPIONS, 0)
    assert record is not None
    told = describe_artifact(registry.get(record.artifact)).manifest
    assert (told["pipeline"], told["factory"], told["arguments"]) == ("small", "tests.small:net", {})
    assert told["quality"]["rows"] == 50  # the newest of 1,000
    assert 0 < told["quality"]["loss_after"] < 0.7
    assert told["parity"] == {"largest": 0, "mean": 0, "changed": 0}
    assert told["versions"]["torch"]


def test_an_artifact_is_shown_with_its_manifest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = list(small.history())
    data = Data(small.encode([row.features for row in rows]), torch.tensor([row.label for row in rows]))
    net = small.net()
    nn.init.zeros_(net.get_parameter("2.weight"))
    made = compress(net, "quantize(int8)", data, Binary(), factory=small.net, manifest={"note": "[red]mine"})
    path = tmp_path / "net.safetensors"
    path.write_bytes(made.artifact)
    show(Console(width=200), read(path))
    shown = capsys.readouterr().out
    assert "made from: tests.small:net()" in shown
    assert "every weight of 2.weight is zero: prune with scope=lamp or" in shown
    assert "note: [red]mine" in shown
    assert f"quality: loss_before {made.loss_before:.4g}, loss_after {made.loss_after:.4g}, loss_error " in shown
    assert "recipe: quantize(int8)" in shown
    assert "parity: largest 0, mean 0, changed 0" in shown
    assert torch.equal(load_artifact(made.artifact, small.net)(*data.inputs), made.model(*data.inputs))
