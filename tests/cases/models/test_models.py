"""Models of other kinds: what they ask of their weights, share, or cannot do is taken, or refused by name at once."""

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from safetensors.torch import load as read_tensors
from torch import Tensor, nn
from torch.nn import functional as F

from compressors.artifact.format import _sealed as sealed
from compressors.artifact.format import describe, floats, load
from compressors.artifact.head import BLANK, members
from compressors.compress import compress
from compressors.data import Data
from compressors.engines.arithmetic import arranged, watch
from compressors.engines.template import export, session
from compressors.errors import ArtifactError, Unsuited
from compressors.recipe import Recipe
from deploy.learning.candidates import compress as candidate
from deploy.learning.candidates import make_learner
from deploy.learning.rehearsal import rehearse
from deploy.pipeline import Labelled, Pipeline
from deploy.registry.kinds import CHAMPIONS, COMMITS
from deploy.registry.registry import Registry
from deploy.registry.states import kept
from deploy.run.running import first_version
from learners.commits import state as states
from learners.online.learner import Learner
from learners.tasks.binary import Binary
from learners.tasks.regression import Regression
from streams.errors import ConfigError, MalformedEvent
from streams.join.store import Store
from tests import small
from tests.cases import case
from tests.cases.models.nets import Net, made, mlp, rows


class Cosine(nn.Module):
    """Its head is read past its layer."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.h = nn.Linear(4, 16), nn.Linear(16, 16), nn.Linear(16, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.normalize(self.b(torch.relu(self.a(x))))
        return 5 * F.linear(hidden, F.normalize(self.h.weight))


def restarted(pipeline: Pipeline, state: dict[str, Tensor]) -> Learner:
    learner = make_learner(pipeline)
    learner.load(states.unpack_state(states.pack_state(state)))
    return learner


@case("models/05")
@pytest.mark.parametrize("history", [small.history, None])
@pytest.mark.parametrize("step", ["prune(amount=0.8)", "prune_structured(amount=0.3)"])
def test_a_pipeline_leaves_weights_in_float_that_are_read_past_their_layers(
    step: str, history: Callable[[], Iterator[Labelled]] | None, tmp_path: Path, embedded_store: Store
) -> None:
    if history is None and "structured" in step:
        pytest.skip("units are chosen by a history")
    pipeline = replace(small.pipeline, model=Cosine, recipe=Recipe.parse(f"{step} -> quantize(int8)"), history=history)
    registry, said = Registry(tmp_path), list[str]()
    first_version(pipeline, registry, embedded_store, said.append)
    champion, commit = registry.record(CHAMPIONS, 0), registry.record(COMMITS, 0)
    assert champion is not None
    assert commit is not None
    found = [line for line in said if line.startswith("h stays in float: its weight is read outside its forward")]
    assert len(found) == (history is not None), "without rows nobody has seen it yet"
    assert list(describe(registry.get(champion.artifact)).left) == ["h"] * (history is not None)
    first = kept.get(registry, str(commit.state))
    one, other = restarted(pipeline, first), restarted(pipeline, first)
    for start in range(0, 111, 37):
        again = restarted(pipeline, other.state())
        answers = [learner.learn(small.samples(37, start=start)) for learner in (one, other, again)]
        assert torch.equal(answers[0], answers[1])
        assert torch.equal(answers[0], answers[2])
    packed, _ = candidate(
        pipeline, one, one.shadow.student(), pipeline.encoder().data(small.samples(100), pipeline.task)
    )
    assert packed.refusal is None
    assert list(packed.description.left) == ["h"]


@case("models/05")
def test_the_only_weight_read_past_its_layer_is_refused_by_name_before_any_training(
    tmp_path: Path, embedded_store: Store
) -> None:
    class Only(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.h = nn.Linear(4, 1)

        def forward(self, x: Tensor) -> Tensor:
            return x @ self.h.weight.t()

    with pytest.raises(ValueError, match=r"compresses no layer of the model \(h: its weight is read outside"):
        first_version(replace(small.pipeline, model=Only), Registry(tmp_path), embedded_store, lambda _: None)


class Bags(nn.Module):
    """Sparse gradients, and offsets of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.e, self.h = nn.EmbeddingBag(64, 8, sparse=True), nn.Linear(8, 1)

    def forward(self, x: Tensor) -> Tensor:
        at = (x * 4).long().clamp(0, 63)
        out: Tensor = self.h(self.e(at.reshape(-1), torch.arange(len(x)) * x.shape[1]))
        return out


@case("models/12")
def test_a_pipeline_with_sparse_gradients_is_trained_and_distilled(tmp_path: Path, embedded_store: Store) -> None:
    pipeline, registry = replace(small.pipeline, model=Bags), Registry(tmp_path)
    rehearse(pipeline)
    first_version(pipeline, registry, embedded_store, lambda _: None)
    assert registry.record(CHAMPIONS, 0) is not None


@case("models/14")
@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_a_pipelines_model_is_looked_at_before_any_service_starts() -> None:
    models: dict[str, Callable[[], nn.Module]] = {
        r"compression computes in float32.*pass model\.float\(\)": lambda: small.net().bfloat16(),
        r"is compiled by torch\.jit": lambda: torch.jit.script(small.net()),
        r"0\.weight is no parameter": lambda: nn.Sequential(nn.utils.spectral_norm(nn.Linear(4, 1))),
    }
    for why, model in models.items():
        with pytest.raises(ConfigError, match=rf"^Pipeline\.model: .*{why}"):
            rehearse(replace(small.pipeline, model=model, history=None))


class Asks(nn.Module):
    """Asks its parameters for device and type, as Hugging Face's models do; all its layers are compressed."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.h = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 1, bias=False)

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def forward(self, x: Tensor) -> Tensor:
        x = x.to(self.device, next(self.b.parameters()).dtype)
        out: Tensor = self.h(torch.relu(self.b(torch.relu(self.a(x)))))
        return out


@case("models/05")
@pytest.mark.parametrize("way", ["row8", "float", "mixed"])
def test_a_forward_that_asks_its_parameters_is_exported(way: Any) -> None:
    pytest.importorskip("onnxscript")
    x, served = rows().inputs[0], made(Asks()).model
    model = arranged(served, way, watch(served, (x,)).ranges, signed=True)
    answers = session(export(model, (x[:2],), way, signed=True), model)(x)
    assert torch.allclose(answers, served(x), atol=1e-5 if way == "row8" else 0.02)


class Tied(nn.Module):
    """An embedding whose weight is the decoder's too; only the linear layer between is compressed."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.e, self.a, self.d = nn.Embedding(500, 16), nn.Linear(16, 16), nn.Linear(16, 500, bias=False)
        self.d.weight = self.e.weight
        self.register_buffer("shift", torch.ones(16))
        self.again = nn.Identity()
        self.again.register_buffer("shift", self.get_buffer("shift"))

    def forward(self, i: Tensor) -> Tensor:
        out: Tensor = self.d(torch.tanh(self.a(self.e(i).mean(1) + self.shift)))
        return out[:, :1]


@case("models/12")
def test_a_float_tensor_of_several_names_is_stored_once() -> None:
    i = torch.randint(0, 500, (40, 5), generator=torch.Generator().manual_seed(0))
    packed = compress(Tied(), "quantize(int8, layers=linear)", Data((i,), (i[:, 0] % 2).float()), Binary())
    assert packed.description.bytes < 1.2 * packed.description.float_bytes
    served = load(packed.artifact, Tied)
    assert torch.equal(served(i), packed.model(i))
    assert served.get_parameter("d.weight") is served.get_parameter("e.weight")
    state = floats(packed.artifact)
    assert Tied().load_state_dict(state) is not None
    assert torch.equal(state["d.weight"], state["e.weight"])
    assert describe(packed.artifact).format == 5
    assert describe(made(mlp()).artifact).format == 3, "older versions read what has no such tensor"
    for forged, why in (
        ({"d.weight": "e.weight", "e.weight": "d.weight"}, "cannot be another name"),
        ({"a.weight": "e.weight"}, "cannot be another name"),
        ({"d.weight": "none"}, "does not fit this model"),
    ):
        head = members(packed.artifact) | {"digest": BLANK, "same": forged}
        file = sealed(read_tensors(packed.artifact), head, {})
        with pytest.raises(ArtifactError, match=why):
            load(file, Tied)


@dataclasses.dataclass
class Output:
    hidden: Tensor
    logits: Tensor


class Complex(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w, self.h = nn.Parameter(torch.ones(5, dtype=torch.cfloat)), nn.Linear(8, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.h(torch.fft.irfft(torch.fft.rfft(x) * self.w, n=8))
        return out


REFUSED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "torch.jit": (lambda: torch.jit.script(mlp()), r"the model is compiled by torch\.jit.*: give what it was made of"),
    "a part of it": (lambda: nn.Sequential(torch.jit.script(mlp())), r"0 is compiled by torch\.jit"),
    "batch statistics": (
        lambda: nn.Sequential(nn.Linear(8, 4), nn.BatchNorm1d(4, track_running_stats=False), nn.Linear(4, 1)),
        "1, a BatchNorm1d with track_running_stats=False, answers a row by the rows",
    ),
    "one row": (
        lambda: nn.Sequential(nn.Linear(8, 4), nn.GroupNorm(4, 4), nn.Linear(4, 1)),
        "does not take one row alone.*Expected more than 1 value per channel",
    ),
    "vmap": (
        lambda: Net(lambda net, h: torch.vmap(net.b)(h)),
        "the model with compressed layers does not take these inputs.*functorch transforms",
    ),
    "complex": (Complex, r"w is torch\.complex64, and what learns must be float32: keep torch\.view_as_real"),
    "a dataclass": (
        lambda: Net(lambda net, h: cast(Tensor, Output(h, net.b(h)))), r"Output of hidden, logits.*output\.logits",
    ),
}  # fmt: skip


@case("models/14")
@pytest.mark.filterwarnings("ignore:.*torch.jit")
@pytest.mark.parametrize("kind", REFUSED)
def test_what_a_model_cannot_do_is_said_by_name_and_at_once(kind: str, tmp_path: Path) -> None:
    model, why = REFUSED[kind]
    with pytest.raises(ValueError, match=why):
        made(model(), "prune(amount=0.5) -> retrain(passes=1) -> quantize(int8)")


DATA: dict[str, tuple[Any, Any, str]] = {
    "no held-out row": (torch.ones(4, 8), None, "held has no rows"),
    "meta": (torch.ones(4, 8, device="meta"), torch.ones(4), "input 0: .*got a meta tensor"),
    "texts of numbers": (torch.ones(4, 8), np.array(["1"] * 4, dtype=object), "labels are numbers.*of str"),
}


@case("models/10")
@pytest.mark.parametrize("kind", DATA)
def test_rows_that_cannot_be_are_refused_in_words(kind: str) -> None:
    x, y, why = DATA[kind]
    held = Data((x[:0],), torch.ones(0)) if y is None else None

    def read() -> object:
        return compress(mlp(), "quantize(int8)", Data((x,), torch.ones(4) if y is None else y), Binary(), held=held)

    with pytest.raises(Unsuited, match=why):
        read()


@case("models/10")
def test_columns_of_objects_and_rows_of_nothing_are_taken() -> None:
    y = np.array([0, 1.0, True, np.int8(0)], dtype=object)
    assert Data((torch.ones(4, 8),), y).labels.tolist() == [0, 1, 1, 0]
    ragged = Data([[1, 2], [], [3]], [1, 0, 1])
    (batch,), _ = ragged.batch(torch.arange(3))
    assert batch.tolist() == [[1, 2], [0, 0], [3, 0]]
    assert batch.dtype == torch.int64


@case("models/09")
@pytest.mark.parametrize("label", [1e300, -3.5e38])
def test_a_number_that_no_answer_can_be_is_no_label(label: float) -> None:
    with pytest.raises(MalformedEvent, match=r"a finite number of at most 3\.4e38"):
        compress(mlp(), "prune(amount=0.5) -> retrain(passes=1)", Data((torch.ones(4, 8),), [label] * 4), Regression())
    assert Regression().target(3.4e38) == 3.4e38
