"""Rows of any kind, length and unit: memory within bytes, shapes in words, one model whatever the labels' unit."""

import base64
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from torch import Tensor, nn

from compressors.answers import answers
from compressors.compress import compress
from compressors.data import Data
from compressors.errors import Unsuited
from compressors.rows import Collated
from deploy.learning.bootstrap import bootstrap
from deploy.learning.candidates import history, make_learner
from deploy.pipeline import Labelled, Pipeline
from deploy.registry.registry import Registry
from learners.tasks.binary import Binary
from learners.tasks.regression import Regression
from streams.errors import ConfigError, MalformedEvent
from tests import small
from tests.cases import case

torch.set_num_threads(1)
X = torch.randn(600, 8, generator=torch.Generator().manual_seed(0))
YES = (X[:, 0] > 0).float()
NUMBER = (3 * X[:, 0]).double()
TRAINED = "prune(amount=0.2) -> retrain(passes=10, learning_rate=0.01)"

IMAGES = """
import resource, torch
from torch import nn
from shadowstream import Binary, Data, compress
torch.set_num_threads(1)
x, y = torch.randn(1000, 3, 64, 64), torch.arange(1000) % 2
net = nn.Sequential(nn.Conv2d(3, 64, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 1))
with torch.no_grad(): net(x[:8])
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before = peak()
compress(net, "quantize(int8)", Data(x, y), Binary(), held=Data(x, y))
print(peak() - before)
"""


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 1))


@case("models/02")
def test_the_memory_beside_the_data_is_bounded() -> None:
    done = subprocess.run([sys.executable, "-c", IMAGES], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 300


@case("models/07", "pytorch#16045")
def test_one_column_of_labels_is_a_label_a_row() -> None:
    flat, column = (compress(net(), TRAINED, Data(X, y), Regression()) for y in (NUMBER, NUMBER[:, None]))
    assert flat.artifact == column.artifact
    with pytest.raises(MalformedEvent, match=r"a regression label is a finite number, got \[0.0, 0.0\]"):
        compress(net(), TRAINED, Data(X, torch.zeros(600, 2)), Regression())
    with pytest.raises(Unsuited, match=r"labels are numbers \(N,\), or \(N, T\), .* got the shape \(600, 2, 1\)"):
        compress(net(), TRAINED, Data(X, torch.zeros(600, 2, 1)), Regression())


@case("models/08")
@pytest.mark.parametrize(("unit", "zero"), [(1e-3, 0.0), (1e4, 0.0), (1.0, 1e5), (1e-3, 1e5)])
@pytest.mark.parametrize("recipe", [TRAINED, "quantize(int8) -> distill(learning_rate=0.01)"])
def test_labels_in_another_unit_make_the_same_model(recipe: str, unit: float, zero: float) -> None:
    one = compress(net(), recipe, Data(X, NUMBER), Regression())
    other = compress(net(), recipe, Data(X, NUMBER * unit + zero), Regression())
    same = (other.model(X).double() - zero) / unit
    assert torch.allclose(same, one.model(X).double(), atol=1e-3)
    assert other.loss_after == pytest.approx(one.loss_after, rel=1e-3)


@case("models/14")
def test_data_of_any_kind_is_read_alike_and_what_is_none_is_refused_in_a_line() -> None:
    kinds = [Data(X, YES), Data(X.numpy(), YES.numpy()), Data((X,), YES.tolist()), Data({"input": X}, YES.bool())]
    assert len({compress(net(), "quantize(int8)", data, Binary()).artifact for data in kinds}) == 1
    wrong_labels: tuple[Any, ...] = (["yes"] * 600, None, [None] * 600, [{}] * 600)
    for labels in wrong_labels:
        with pytest.raises(Unsuited) as wrong:
            compress(net(), "quantize(int8)", Data(X, labels), Binary())
        assert len(str(wrong.value)) < 300


class Dict(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(4, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"logits": self.out(x)}


@case("models/cli/dictout")
def test_a_model_that_returns_a_dict_is_told_what_to_return(tmp_path: Path) -> None:
    said = r"a dict of logits, where forward must return a tensor .*return output\['logits'\]"
    rows = Data(torch.zeros(40, 4), torch.zeros(40))
    with pytest.raises(Unsuited, match=said):
        compress(Dict(), "quantize(int8)", rows, Binary())
    with pytest.raises(ConfigError, match=said):
        bootstrap(replace(small.pipeline, model=Dict), Registry(tmp_path))
    with pytest.raises(ConfigError, match=said):
        make_learner(replace(small.pipeline, model=Dict)).learn(small.samples(3))


@case("models/cli/bn257")
@pytest.mark.parametrize("rows", [257, 1, 0])
def test_a_history_of_any_length_makes_a_first_version(rows: int, tmp_path: Path) -> None:
    def model() -> nn.Module:
        return nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 1))

    past = list(small.history())[:rows]
    assert bootstrap(replace(small.pipeline, model=model, history=lambda: iter(past)), Registry(tmp_path))


class Text(msgspec.Struct):
    text: str


class Words(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.names, self.out = nn.Embedding(128, 8), nn.Linear(8, 1)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        out: Tensor = self.out((self.names(ids) * mask[..., None]).sum(1) / mask.sum(1, keepdim=True))
        return out


def tokenize(texts: Sequence[Any]) -> dict[str, Tensor]:
    rows = [torch.tensor([ord(c) % 128 for c in one.text]) for one in texts]
    ids = nn.utils.rnn.pad_sequence(rows, batch_first=True)
    mask = nn.utils.rnn.pad_sequence([torch.ones(len(row)) for row in rows], batch_first=True)
    return {"mask": mask, "ids": ids}


@case("models/11")
def test_texts_padded_to_their_batch_are_learned_and_answered_in_their_order(tmp_path: Path) -> None:
    texts = [Text("ab" * (1 + i // 40)) for i in range(1_500)]
    pipeline = Pipeline(
        name="texts", model=Words, features=Text, encode=tokenize,  # type: ignore[arg-type]
        history=lambda: (Labelled(one, float(len(one.text) > 20)) for one in texts),
    )  # fmt: skip
    data = history(pipeline)
    assert data is not None
    assert isinstance(data.rows, Collated)
    model, encoder = Words(), pipeline.encoder()
    together = answers(model, Collated(texts, encoder.encode))
    alone = torch.cat([answers(model, encoder.encode([one])) for one in texts[:50]])
    assert torch.allclose(together[:50], alone, atol=1e-5)
    assert bootstrap(pipeline, Registry(tmp_path))


@case("models/11")
def test_lists_of_tensors_of_any_length_are_compressed() -> None:
    rows = [torch.randint(1, 128, (1 + i % 9,)) for i in range(300)]
    data = Data((rows, [torch.ones(len(row)) for row in rows]), torch.arange(300) % 2)
    assert compress(Words(), "quantize(int8) -> distill(passes=1)", data, Binary()).parity.largest < 0.05


class Image(msgspec.Struct):
    pixels: bytes


@case("models/11")
def test_bytes_of_images_are_decoded_from_base64() -> None:
    def encode(images: Sequence[Any]) -> tuple[Tensor, ...]:
        return (torch.stack([torch.frombuffer(bytearray(one.pixels), dtype=torch.uint8).float() for one in images]),)

    encoder = replace(small.pipeline, features=Image, encode=encode).encoder()
    raw = bytes(range(64))
    sent = b'{"pixels": "' + base64.b64encode(raw) + b'"}'
    assert encoder.encode([encoder.decode(sent)])[0].tolist() == [[float(x) for x in raw]]
