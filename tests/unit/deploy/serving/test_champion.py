"""The served champion: its engine answers as the evaluator's does, and nothing that fails beside it stops serving."""

import logging
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from torch import nn

from compressors.artifact import format as artifact
from compressors.data import Data
from compressors.engines import choose as choosing
from compressors.engines import template as templates
from compressors.form import training_form
from compressors.recipe import Recipe
from deploy import engine as engines
from deploy.engine import load
from deploy.learning.bootstrap import bootstrap
from deploy.lineages import Lineages
from deploy.promotion.evaluator import first_version
from deploy.registry.kinds import ALARMS, CHAMPIONS, ENGINES
from deploy.registry.records import Alarm, Champion, Engine, Proof
from deploy.registry.registry import Registry
from deploy.serving import champion as serving
from deploy.serving.champion import Served
from learners.evaluation.verdict import Guard
from learners.online.batches import Inputs
from tests import small
from tests.learned import until

pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")

ROWS: Inputs = (torch.randn(100, 4, generator=torch.Generator().manual_seed(0)),)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    registry = Registry(tmp_path_factory.mktemp("registry"))
    assert bootstrap(small.pipeline, registry, engines=True)
    return registry


@pytest.fixture
def registry(made: Registry, tmp_path: Path) -> Registry:
    """A registry of its own that holds version 0 and all blobs."""
    own = Registry(tmp_path)
    for blob in (made.folder / "blobs").iterdir():
        own.put(blob.read_bytes())
    assert own.create(CHAMPIONS, 0, first(made))
    return own


def first(registry: Registry) -> Champion:
    record = registry.record(CHAMPIONS, 0)
    assert record is not None
    return record


def by_torch(registry: Registry) -> torch.Tensor:
    model = artifact.load(registry.get(first(registry).artifact), small.net)
    answers: torch.Tensor = model(*ROWS) + torch.tensor(first(registry).offset)
    return answers


def test_the_first_version_has_an_engine_that_is_proven(made: Registry) -> None:
    engine = first(made).engine
    assert isinstance(engine, Engine)
    assert engine.arithmetic in ("float", "row8")  # its history is too short for ranges
    assert engine.ranges is None
    assert engine.proof.mean <= 5e-3
    assert engine.proof.rows == 500  # as many as the replay has
    assert [one.suffix for one in (made.folder / ENGINES).iterdir()] == [".json"] * (
        1 if engine.arithmetic == "float" else 2
    )


def test_the_server_answers_as_the_evaluator_does_bit_for_bit(registry: Registry) -> None:
    served = Served(registry, small.net)
    judged = first_version(Lineages(small.pipeline, registry), registry).model
    assert torch.equal(served.answer(ROWS), judged(*ROWS))
    assert torch.equal(torch.cat([served.answer((row,)) for row in torch.split(ROWS[0], 1)]), judged(*ROWS))
    assert "by onnxruntime; 0.00" in served.engines[0]
    assert not torch.equal(served.answer(ROWS), by_torch(registry))


def test_a_second_version_exports_nothing(made: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = Registry(tmp_path)
    for folder in ("blobs", ENGINES):
        for name in made.objects.list(folder):
            own.objects.create(name, made.objects.get(name) or b"")
    monkeypatch.setattr(choosing, "near", lambda difference: None)  # both take the first that there is
    monkeypatch.setattr(engines, "export", lambda *_, **__: pytest.fail("it was exported again"))
    assert bootstrap(replace(small.pipeline, seed=1), own, engines=True)
    ours, other = first(own).engine, first(made).engine
    assert isinstance(ours, Engine)
    assert isinstance(other, Engine)
    assert first(own).artifact != first(made).artifact
    assert ours.template == other.template


@pytest.mark.parametrize("damaged", ["blob", "file"])
def test_a_template_that_is_missing_or_damaged_is_exported_again(
    damaged: str, made: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exports: list[str] = []

    def export(*args: Any, **how: Any) -> templates.Template:
        exports.append(args[2])
        return templates.export(*args, **how)

    monkeypatch.setattr(engines, "export", export)
    record, own = first(made), Registry(tmp_path)
    shutil.copytree(made.folder / ENGINES, own.folder / ENGINES)
    if damaged == "file":
        for file in (own.folder / ENGINES).iterdir():
            file.write_bytes(b"{")
    found = engines.find(own, made.get(record.artifact), small.net, Data(ROWS, torch.zeros(100)))
    assert isinstance(found, Engine)
    assert found.arithmetic in exports
    load(own, own.put(made.get(record.artifact)), found, small.net)(*ROWS)
    exports.clear()
    assert found == engines.find(own, made.get(record.artifact), small.net, Data(ROWS, torch.zeros(100)))
    assert not exports


class Odd(nn.Module):
    """Its graph depends on the values of its rows."""

    def __init__(self) -> None:
        super().__init__()
        self.body = small.net()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.body(x)
        return out if x.sum() > 0 else -out


def test_a_model_that_cannot_be_exported_is_tried_once_and_served_by_torch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, odd = Registry(tmp_path), replace(small.pipeline, model=Odd)
    assert bootstrap(odd, own, engines=True)
    why = first(own).engine
    assert isinstance(why, str)
    assert "float, row8: this model cannot be exported: " in why
    monkeypatch.setattr(engines, "export", lambda *_, **__: pytest.fail("it was exported again"))
    data = Data((torch.randn(500, 4),), torch.zeros(500))
    assert engines.find(own, own.get(first(own).artifact), Odd, data) == why
    (line,) = Served(own, Odd).engines
    assert line == f"v0, torch: {why[:200]}"


def test_a_row_that_is_not_finite_gets_no_finite_answer(registry: Registry) -> None:
    served = Served(registry, small.net)
    for bad in (math.nan, math.inf, -math.inf):
        rows = ROWS[0].clone()
        rows[7, 1] = bad
        assert served.answer((rows,)).isfinite().flatten().tolist() == [n != 7 for n in range(100)]


def test_without_engines_torch_answers(registry: Registry) -> None:
    served = Served(registry, small.net, engines=False)
    assert torch.equal(served.answer(ROWS), by_torch(registry))
    assert served.engines == ()


@pytest.mark.parametrize("why", [None, "this model cannot be exported"])
def test_a_version_without_an_engine_is_answered_by_torch(why: str | None, registry: Registry) -> None:
    assert registry.create(CHAMPIONS, 1, msgspec.structs.replace(first(registry), number=1, engine=why))
    served = Served(registry, small.net)
    assert torch.equal(served.answer(ROWS), by_torch(registry))
    assert served.engines == (f"v1, torch: {why or 'its record is of an older release'}",)


def test_of_a_versions_syncs_it_is_said_once_that_torch_runs_some(
    registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    """Each proof that fails has another figure in its reason, and there may be one every few seconds."""
    served = Served(registry, small.net)
    for number in (1, 2, 3):
        why = f"changed difference 0.00{number}, allowed 0.002"
        own = registry.put(artifact.with_manifest(registry.get(first(registry).artifact), {"number": number}))
        sync = msgspec.structs.replace(first(registry), number=number, artifact=own, engine=why, sync_of=0)
        assert registry.create(CHAMPIONS, number, sync)
        while not served.refresh():
            pass
    assert [line for line in caplog.messages if "is run by torch" in line] == [
        "server: v1 is run by torch: changed difference 0.001, allowed 0.002"
    ]
    assert served.engines == ("v3, torch: changed difference 0.003, allowed 0.002",)


def test_a_record_of_an_older_release_is_read() -> None:
    data = CHAMPIONS.encode(
        Champion(number=0, artifact="", candidate=None, offset=(0.0,), at_ms=0, learned=0, evidence="")
    )
    old = msgspec.json.encode({k: v for k, v in msgspec.json.decode(data).items() if k != "engine"})
    assert CHAMPIONS.decode(old).engine is None


WHY = {
    "onnxruntime": "not installed: onnxruntime",
    "other": "0.weight is float32 [16, 4]: the template needs float32 [17, 4]",
}


class Wide(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Linear(4, 17), nn.ReLU(), nn.Linear(17, 1))
        self.requires_grad_(False)


@pytest.mark.parametrize("what", ["onnxruntime", "template", "ranges", "other"])
def test_what_is_missing_is_told_and_torch_answers(
    what: str, registry: Registry, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    proof = Proof(largest=0, mean=0, changed=0, rows=1)
    engine = first(registry).engine
    assert isinstance(engine, Engine)
    if what == "other":  # a template whose hidden layer is wider
        wide = registry.put(templates.export(Wide().eval(), ROWS, "float", signed=False).pack())
        engine = Engine(arithmetic="float", template=wide, ranges=None, proof=proof)
    elif what == "onnxruntime":
        monkeypatch.setattr(templates, "find_spec", lambda name: None if name == what else name)
    else:
        bad = {"template": engine.template, "ranges": engine.ranges} | {what: "0" * 64}
        engine = Engine(arithmetic=engine.arithmetic, proof=proof, **bad)  # type: ignore[arg-type]
    with caplog.at_level(logging.WARNING):
        assert registry.create(CHAMPIONS, 1, msgspec.structs.replace(first(registry), number=1, engine=engine))
        served = Served(registry, small.net)
    assert torch.equal(served.answer(ROWS), by_torch(registry))
    assert served.engines[0].startswith("v1, torch: ")
    assert WHY.get(what, "0000 is missing") in served.engines[0]
    assert sum("is run by torch" in message for message in caplog.messages) == 1


def test_an_engine_that_fails_is_left_for_good_and_wrong_requests_are_the_models_to_refuse(registry: Registry) -> None:
    record = first(registry)
    running = load(registry, record.artifact, record.engine, small.net)
    before = running.by
    with pytest.raises(RuntimeError, match=r"needs to match|cannot be multiplied"):
        running(torch.zeros(2, 3))
    assert running.by == before

    def fails(*_: object) -> torch.Tensor:
        raise RuntimeError("no more memory\nand more")

    running._session = fails  # type: ignore[assignment]
    assert torch.equal(running(*ROWS), artifact.load(registry.get(record.artifact), small.net)(*ROWS))
    assert running.line == "torch: its engine failed: no more memory"


def test_a_newer_version_takes_over_when_it_is_loaded(registry: Registry) -> None:
    served = Served(registry, small.net)
    assert not served.refresh()
    newer = msgspec.structs.replace(first(registry), number=1, offset=(3.0,))
    assert registry.create(CHAMPIONS, 1, newer)
    before = served.answer(ROWS)
    while not served.refresh():
        assert torch.equal(served.answer(ROWS), before)
    assert served.record.number == 1
    torch.testing.assert_close(served.answer(ROWS), before - first(registry).offset[0] + 3.0)
    assert not served.refresh()


def test_a_version_that_cannot_be_loaded_is_told_and_the_one_before_it_serves_on(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    served, record = Served(registry, small.net), first(registry)
    missing = msgspec.structs.replace(record, number=1, artifact="0" * 64)
    other = msgspec.structs.replace(record, number=2, artifact=registry.put(b"no artifact"))
    whole = msgspec.structs.replace(record, number=3, offset=(3.0,))
    before = served.answer(ROWS)
    for bad, why in ((missing, "0000 is missing"), (other, "not an artifact")):
        assert registry.create(CHAMPIONS, bad.number, bad)
        while not any(why in line for line in served.engines):
            assert not served.refresh()
        assert torch.equal(served.answer(ROWS), before)
        assert served.record.number == 0
        (line,) = Served(registry, small.net).engines[1:]  # one that begins now
        assert f"v{bad.number} does not serve: " in line
    monkeypatch.setattr(serving, "AGAIN_S", 0.0)
    for _ in range(3):  # it is tried again, and told once
        served._again_s = 0.0
        while served._coming is None:
            served.refresh()
        while served._coming is not None:
            served.refresh()
    assert sum("server: v2 does not serve" in message for message in caplog.messages) == 2  # ours, and one that began
    assert registry.create(CHAMPIONS, 3, whole)
    while not served.refresh():
        pass
    assert served.record.number == 3
    assert len(served.engines) == 1


def test_beside_a_canary_the_champion_serves_and_goes_on_where_that_cannot_be_loaded(registry: Registry) -> None:
    """Servers that run, and those that begin, agree; what is loaded already is not loaded again."""
    served, record = Served(registry, small.net), first(registry)
    model, keys = small.net(), [str(n) for n in range(200)]
    form = training_form(model, Recipe.parse("quantize(int8)")).eval()
    canary = msgspec.structs.replace(
        record, number=1, artifact=registry.put(artifact.pack(form, {})), engine="a test", share=0.3
    )
    grown = msgspec.structs.replace(canary, number=2, share=0.6)
    before, answered = served.answer(ROWS), list[list[str]]()
    for one in (canary, grown):
        runs = served._serving.both
        assert registry.create(CHAMPIONS, one.number, one)
        while not served.refresh():
            pass
        answered.append([key for key in keys if served.of(key).record.number == one.number])
        assert answered[-1] == [key for key in keys if Served(registry, small.net).of(key).record.number == one.number]
        assert torch.equal(served.answer(ROWS), before)
        assert (served.newest, served.record.number) == (one.number, 0)
        assert served._serving.champion.running is runs[-1].running
        assert f"v{one.number} ({100 * one.share:g} % of requests), torch" in served.engines[1]
    assert set(answered[0]) < set(answered[1])
    missing = msgspec.structs.replace(canary, number=3, artifact="0" * 64)
    assert registry.create(CHAMPIONS, 3, missing)
    while "v3 does not serve" not in served.engines[-1]:
        assert not served.refresh()
    assert served.newest == 2  # the canary of before answers on
    assert Served(registry, small.net).newest == 2


def test_after_a_mismatch_torch_serves_that_artifact_wherever_it_is_loaded(registry: Registry) -> None:
    served, one = Served(registry, small.net), first(registry)
    for number, artifact_ in enumerate(["another", one.artifact]):
        assert "by onnxruntime" in served.engines[0]
        alarm = Alarm(
            number=number, champion=0, back_to=0, old=False, detector="mismatch", log_r=0.0, log_needed=0.0, samples=64,
            gain=0.0, since_ms=0, offset=(0.0,), at_ms=0, commit=0, kind="mismatch", artifact=artifact_,
            guard=Guard("mismatch", 0.5, 0.1, False, "they are apart"),
        )  # fmt: skip
        assert registry.create(ALARMS, number, alarm)
        if number:
            until(served.refresh)
        else:
            assert not any(served.refresh() for _ in range(2_000))
    assert served.engines == ("v0, torch: they are apart",)
    assert torch.equal(served.answer(ROWS), by_torch(registry))
    assert Served(registry, small.net).engines == ("v0, torch: they are apart",)
