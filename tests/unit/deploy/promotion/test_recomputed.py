"""What was served, computed again: a model that reads its batch's filling is no mismatch, and another's answers are."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import msgspec
import pytest
import torch
from msgspec import Raw
from torch import Tensor, nn

from compressors.recipe import Recipe
from deploy.engine import load
from deploy.learning.bootstrap import bootstrap
from deploy.learning.rehearsal import rehearse
from deploy.pipeline import FeedEvent, Labelled, Pipeline
from deploy.promotion.recomputed import BLOCK, Recomputed
from deploy.registry.kinds import CHAMPIONS
from deploy.registry.records import Champion
from deploy.registry.registry import Registry
from streams.events import Prediction, Sample
from tests import ragged


class Text(msgspec.Struct):
    text: str


class Mean(nn.Module):
    """The mean of letters, with what fills a row up to the longest of its batch, unless a mask says what is filling."""

    masked = False

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.letters, self.out = nn.Embedding(ragged.LETTERS, 8), nn.Linear(8, 1)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        weight = (mask if self.masked else torch.ones_like(mask))[..., None].float()
        out: Tensor = self.out((self.letters(ids) * weight).sum(1) / weight.sum(1))
        return out


class Masked(Mean):
    masked = True


def encode(rows: Sequence[Text]) -> dict[str, Tensor]:
    return ragged.encode([row.text for row in rows])


def samples(texts: Sequence[str], outputs: Tensor) -> list[Sample]:
    made = []
    for n, (text, output) in enumerate(zip(texts, outputs.tolist(), strict=True)):
        asked = Prediction(f"id-{n}", n, 0, tuple(output), (0.0,), 0, Raw(msgspec.json.encode(Text(text))))
        made.append(Sample(f"id-{n}", "joined", 0, n, 1.0, n + 1, asked))
    return made


def made(model: type[Mean]) -> Pipeline:
    return Pipeline(
        name="texts",
        model=model,
        features=Text,
        encode=encode,  # type: ignore[arg-type]
        recipe=Recipe.parse("quantize(int8)"),
        history=lambda: (Labelled(Text(one), float(len(one) > 20)) for one in ragged.texts(100)),
    )


@pytest.mark.parametrize(("model", "wrong", "passed"), [
    (Mean, 0.0, True), (Masked, 0.0, True), (Mean, 20.0, False), (Masked, 0.05, False),
])  # fmt: skip
def test_answers_that_depend_on_their_batch_are_compared_by_how_much(
    model: type[Mean], wrong: float, passed: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    pipeline = made(model)
    registry = Registry(tmp_path_factory.mktemp("recomputed"))
    assert bootstrap(pipeline, registry)
    record = registry.record(CHAMPIONS, 0)
    assert isinstance(record, Champion)
    running, texts, encoder = (
        load(registry, record.artifact, None, model),
        ragged.texts(BLOCK, seed=3),
        pipeline.encoder(),
    )
    parts = [running(*encoder.encode([Text(one) for one in texts[at : at + 5]])) for at in range(0, BLOCK, 5)]
    served = torch.cat(parts) + torch.tensor(record.offset)
    guard = Recomputed(pipeline, registry)._compared(record, samples(texts, served * (1 + wrong)))
    assert guard.passed == passed, guard.said


@pytest.mark.parametrize("asked", [False, True])
@pytest.mark.parametrize(("model", "said"), [(Mean, True), (Masked, False)])
def test_it_is_said_before_the_start(
    model: type[Mean], said: bool, asked: bool, caplog: pytest.LogCaptureFixture
) -> None:
    def feed() -> Iterator[FeedEvent]:
        values = [b"no JSON", *(msgspec.json.encode(Text(one)) for one in ragged.texts(9))]
        yield from (FeedEvent(n, "requests", b"%d" % n, value) for n, value in enumerate(values))

    rehearse(replace(made(model), history=None, feed=feed) if asked else made(model))
    lines = [line for line in caplog.messages if "a row is answered otherwise beside longer ones" in line]
    assert len(lines) == said
