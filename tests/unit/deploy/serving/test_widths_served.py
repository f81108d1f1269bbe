"""Texts of varying length keep their engine while they are served; a width that was not proven is torch's."""

from collections.abc import Sequence

import msgspec
import pytest
import torch
from torch import Tensor

from compressors.artifact import format as artifact
from compressors.engines.arithmetic import arranged, signed_is_exact
from compressors.engines.template import export
from compressors.recipe import Recipe
from compressors.rows import Batch, Collated, Fixed, as_batch
from deploy.engine import load, prove
from deploy.learning.bootstrap import bootstrap
from deploy.learning.candidates import history
from deploy.pipeline import Labelled, Pipeline
from deploy.registry.kinds import CHAMPIONS
from deploy.registry.records import Champion, Engine, Width
from deploy.registry.registry import Registry
from learners.online.settings import Online
from learners.tasks.classes import Classes
from tests import ragged
from tests.ragged import Reader

pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")


class Text(msgspec.Struct):
    text: str


def encode(rows: Sequence[Text]) -> dict[str, Tensor]:
    return ragged.encode([row.text for row in rows])


def reader() -> Reader:
    return Reader(width=24)


PIPELINE = Pipeline(
    name="texts",
    model=reader,
    task=Classes(("a", "b", "c")),
    features=Text,
    encode=encode,  # type: ignore[arg-type]
    recipe=Recipe.parse("prune(amount=0.5) -> quantize(int8)"),
    history=lambda: (Labelled(Text(one), "abc"[len(one) % 3]) for one in ragged.texts(200)),
    online=Online(history_passes=1),
)


def batch(*widths: int) -> Batch:
    return as_batch(encode([Text("f" * width) for width in widths]), len(widths), "encode", ("ids", "mask"))


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    made = Registry(tmp_path_factory.mktemp("texts"))
    assert bootstrap(PIPELINE, made, engines=True)
    return made


def first(registry: Registry) -> tuple[Champion, Engine]:
    record = registry.record(CHAMPIONS, 0)
    assert record is not None
    assert isinstance(record.engine, Engine), record.engine
    return record, record.engine


def by_torch(registry: Registry, made: Batch) -> Tensor:
    with torch.inference_mode():
        answer: Tensor = artifact.load(registry.get(first(registry)[0].artifact), reader)(*made)
    return answer


def test_a_history_whose_parts_come_out_in_one_shape_is_known_to_be_uneven() -> None:
    data = history(PIPELINE)
    assert data is not None
    assert isinstance(data.rows, Fixed)
    assert data.rows.source is not None
    assert len(data.split()[1].rows.source) == 10  # type: ignore[attr-defined]


def test_an_engine_goes_on_beside_widths_that_were_not_proven(registry: Registry) -> None:
    record, engine = first(registry)
    assert engine.arithmetic == "row8"
    assert engine.widths == tuple(Width(input=i, dimension=1, least=1, most=40) for i in (0, 1))
    running = load(registry, record.artifact, engine, reader)
    inside: list[tuple[int, ...]] = [(1,), (40, 2, 9), (7,) * 30]
    for widths in inside:
        assert torch.allclose(running(*batch(*widths)), by_torch(registry, batch(*widths)), atol=1e-5)
    assert running.others == 0
    for widths in [(41,), (90, 1)]:  # the first is next to what was proven
        assert torch.equal(running(*batch(*widths)), by_torch(registry, batch(*widths)))
    assert (
        running.line == "row8, by onnxruntime; 0.0000 from the artifact's answers; 2 batches of other widths by torch"
    )
    assert torch.allclose(running(*batch(3, 5)), by_torch(registry, batch(3, 5)), atol=1e-5)
    assert running.others == 2


def test_an_engine_of_an_older_release_knows_one_width_and_goes_on(registry: Registry) -> None:
    record, engine = first(registry)
    assert b"widths" not in msgspec.json.encode(msgspec.structs.replace(engine, widths=()))
    model = arranged(artifact.load(registry.get(record.artifact), reader), "row8", {}, signed=signed_is_exact())
    wide = registry.put(export(model, batch(40, 3), "row8", signed=signed_is_exact()).pack())
    running = load(registry, record.artifact, msgspec.structs.replace(engine, template=wide, widths=()), reader)
    for n, widths in enumerate([(40, 2), (39, 1), (40, 5)]):
        assert torch.allclose(running(*batch(*widths)), by_torch(registry, batch(*widths)), atol=1e-5)
        assert running.others == (n > 0)
    assert "row8, by onnxruntime" in running.line


def test_a_sync_is_proven_in_the_widths_of_its_version(registry: Registry) -> None:
    record, engine = first(registry)
    rows = Collated([Text(one) for one in ragged.texts(80, 1, 60)], encode, ("ids", "mask"))
    proven = prove(registry, registry.get(record.artifact), reader, engine, rows)
    assert isinstance(proven, Engine)
    assert proven.widths == engine.widths
    assert proven.proof.mean < 1e-6
