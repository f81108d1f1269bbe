"""Hidden states and attention maps: how a model shows them, which are compared, and the distances by hand."""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from compressors.answers import evaluating
from compressors.data import Data
from compressors.distillation.hidden import (
    Hints,
    States,
    attention_distance,
    hidden_distance,
    layer_map,
    observe,
)
from compressors.distillation.train import train
from compressors.recipe import Distill
from tests.unit.compressors.problems import Squared

torch.set_num_threads(1)  # these nets are too small to share among threads, which would only wait for each other


@pytest.mark.parametrize(
    ("student", "teacher", "expected"),
    [
        (4, 12, (2, 5, 8, 11)),
        (3, 3, (0, 1, 2)),
        (2, 3, (1, 2)),
        (1, 7, (6,)),
        (3, 1, (0, 0, 0)),
        (5, 2, (0, 0, 1, 1, 1)),
    ],
)
def test_layers_are_mapped_evenly_and_the_last_to_the_last(
    student: int, teacher: int, expected: tuple[int, ...]
) -> None:
    assert layer_map(student, teacher) == expected


def test_hidden_states_differ_by_the_mean_square() -> None:
    student = torch.tensor([[[1.0, 2.0], [3.0, 4.0]], [[0.0, 0.0], [0.0, 0.0]]])
    teacher = torch.tensor([[[1.0, 0.0], [3.0, 1.0]], [[0.0, 0.0], [0.0, 2.0]]])
    assert hidden_distance(student, teacher).tolist() == [(4 + 9) / 4, 1.0]


def test_attention_maps_differ_by_the_mean_divergence() -> None:
    """One row, one head, two positions; then two heads against one: the average of the two is compared."""
    teacher, student = torch.tensor([[[[0.5, 0.5], [1.0, 0.0]]]]), torch.tensor([[[[0.25, 0.75], [0.5, 0.5]]]])
    first = 0.5 * math.log(2) + 0.5 * math.log(0.5 / 0.75)
    expected = (first + math.log(2)) / 2
    assert attention_distance(student, teacher).tolist() == pytest.approx([expected], rel=1e-5)
    two = torch.cat([student - 0.2, student + 0.2], 1)
    assert attention_distance(two, teacher).tolist() == pytest.approx([expected], rel=1e-5)
    assert attention_distance(two, teacher[:, 0]).tolist() == pytest.approx([expected], rel=1e-5)


def test_equal_heads_are_compared_one_by_one() -> None:
    maps = torch.tensor([[[[0.9, 0.1]], [[0.1, 0.9]]]])
    swapped = maps.flip(1)
    assert attention_distance(maps, maps).tolist() == pytest.approx([0.0], abs=1e-6)
    assert attention_distance(swapped, maps).tolist() == pytest.approx([0.8 * math.log(9)], rel=1e-5)


def test_what_dropout_zeroed_costs_a_finite_number_and_has_no_slope() -> None:
    student = torch.tensor([[[0.0, 1.0]]], requires_grad=True)
    loss = attention_distance(student, torch.tensor([[[0.5, 0.5]]]))
    (slope,) = torch.autograd.grad(loss.sum(), student)
    assert loss.isfinite().all()
    assert slope.tolist() == [[[0.0, -0.5]]]


class Attends(nn.Module):
    """A plain model with named layers: (N, S) whole numbers in, (N, 1) out."""

    hidden_layers: tuple[str, ...] = ("mix", "out")
    attention_layers: tuple[str, ...] = ("attend",)

    def __init__(self, width: int = 8, heads: int = 2) -> None:
        super().__init__()
        self.embed = nn.Embedding(5, width)
        self.attend = nn.MultiheadAttention(width, heads, batch_first=True)
        self.mix, self.out = nn.Linear(width, width), nn.LSTM(width, width, batch_first=True)
        self.head = nn.Linear(width, 1)

    def forward(self, x: Tensor) -> Tensor:
        e = self.embed(x)
        h = self.mix(self.attend(e, e, e, average_attn_weights=False)[0])
        last: Tensor = self.head(self.out(h)[0][:, -1])
        return last


X = (torch.tensor([[0, 1, 2], [3, 4, 0]]),)


def test_a_plain_model_shows_the_layers_that_it_names() -> None:
    model = Attends()
    output, states = observe(model, X)
    assert torch.equal(output, model(*X))
    assert [tuple(h.shape) for h in states.hidden] == [(2, 3, 8), (2, 3, 8)]
    assert [tuple(a.shape) for a in states.attention] == [(2, 2, 3, 3)]
    torch.testing.assert_close(states.attention[0].sum(-1), torch.ones(2, 2, 3))
    assert all(h.requires_grad for h in states.hidden)
    assert not any(m._forward_hooks for m in model.modules())


@dataclass
class Output:
    logits: Tensor
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor | None, ...] | None = None


class Face(nn.Module):
    """Answers as a Hugging Face model does: states only when asked for, the embeddings first."""

    def __init__(self, width: int, depth: int, heads: int) -> None:
        super().__init__()
        self.config = SimpleNamespace(output_hidden_states=False)
        self.embed = nn.Embedding(5, width)
        self.layers = nn.ModuleList(nn.MultiheadAttention(width, heads, batch_first=True) for _ in range(depth))
        self.head = nn.Linear(width, 1)

    def forward(self, x: Tensor, output_hidden_states: bool = False, output_attentions: bool = False) -> Output:
        states, maps = [self.embed(x)], []
        for layer in self.layers:
            h, a = layer(states[-1], states[-1], states[-1], average_attn_weights=False)
            states.append(h)
            maps.append(a)
        shown = tuple(states) if output_hidden_states else None
        return Output(self.head(states[-1][:, 0]), shown, tuple(maps) if output_attentions else None)


class FusedFace(Face):
    """One whose attention gives no maps."""

    def forward(self, x: Tensor, output_hidden_states: bool = False, output_attentions: bool = False) -> Output:
        output = super().forward(x, output_hidden_states)
        return Output(output.logits, output.hidden_states, (None,) * len(self.layers))


class TupleFace(Face):
    """One that returns a tuple, not a ModelOutput."""

    def forward(self, x: Tensor, **asked: bool) -> tuple[Tensor]:  # type: ignore[override]
        return (super().forward(x).logits,)


class Wrapped(nn.Module):
    """A model of ours around one of theirs."""

    def __init__(self, face: Face) -> None:
        super().__init__()
        self.face = face

    def forward(self, x: Tensor) -> Tensor:
        output = self.face(x)
        logits: Tensor = output[0] if isinstance(output, tuple) else output.logits
        return logits


def test_a_hugging_face_model_is_asked_through_what_wraps_it() -> None:
    model = Wrapped(Face(8, depth=3, heads=4))
    output, states = observe(model, X)
    assert torch.equal(output, model(*X))
    assert [tuple(h.shape) for h in states.hidden] == [(2, 3, 8)] * 3
    assert [tuple(a.shape) for a in states.attention] == [(2, 4, 3, 3)] * 3
    assert not model.face._forward_hooks
    assert not model.face._forward_pre_hooks


def reference(student: States, teacher: States, weights: Sequence[Tensor], last: list[int]) -> Tensor:
    """Mean over layers of MSE(H_S W, H_T), and of the KL of the maps averaged over heads."""
    hidden, maps = torch.zeros(2), torch.zeros(2)
    for i, j in enumerate(last):
        gap = student.hidden[i] @ weights[i].t() - teacher.hidden[j]
        hidden += (gap**2).mean((1, 2)) / len(last)
        if not student.attention:
            continue
        ours, theirs = student.attention[i].mean(1), teacher.attention[j].mean(1)
        maps += (theirs * (theirs / ours).log()).sum(2).mean(1) / len(last)
    return hidden + maps


def test_two_models_of_any_shapes_are_compared() -> None:
    torch.manual_seed(0)
    student, teacher = Wrapped(Face(4, depth=2, heads=2)), Wrapped(Face(8, depth=4, heads=4))
    hints = Hints(student, teacher, X)
    ours, theirs = observe(student, X)[1], observe(teacher, X)[1]
    weights = [*hints.parameters()]
    assert [tuple(w.shape) for w in weights] == [(8, 4), (8, 4)]
    torch.testing.assert_close(hints(ours, theirs), reference(ours, theirs, weights, [1, 3]))


def test_equal_widths_need_no_projection_and_equal_models_have_no_distance() -> None:
    model = Wrapped(Face(4, depth=2, heads=2))
    hints = Hints(model, model, X)
    states = observe(model, X)[1]
    assert [*hints.parameters()] == []
    assert hints(states, states).tolist() == pytest.approx([0.0, 0.0], abs=1e-6)


def test_what_only_one_model_shows_is_not_compared() -> None:
    student, teacher = FusedFace(4, depth=2, heads=2), Attends(4)
    hints = Hints(student, teacher, X)
    ours, theirs = observe(student, X)[1], observe(teacher, X)[1]
    assert ours.attention == []
    hidden = sum(hidden_distance(s, t) for s, t in zip(ours.hidden, theirs.hidden, strict=True))
    torch.testing.assert_close(hints(ours, theirs), hidden / 2)


def test_models_that_show_nothing_in_common_are_refused() -> None:
    one, other = Attends(4), Attends(4)
    one.hidden_layers, other.attention_layers = (), ()
    with pytest.raises(ValueError, match="nothing in common"):
        Hints(one, other, X)


def test_models_that_show_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="Embedding shows no hidden states: name its layers"):
        observe(nn.Embedding(5, 2), X)
    with pytest.raises(ValueError, match="Wrapped shows no hidden states"):
        observe(Wrapped(TupleFace(4, 1, 1)), X)


def test_layers_that_are_not_there_or_give_no_tensor_are_refused() -> None:
    model = Attends()
    model.hidden_layers = ("nowhere",)
    with pytest.raises(ValueError, match="hidden_layers names 'nowhere'"):
        observe(model, X)
    model.hidden_layers, model.attention_layers = (), ("out",)
    with pytest.raises(ValueError, match="attention_layers: 'out' returns tuple, not a tensor"):
        observe(model, X)
    assert not any(m._forward_hooks for m in model.modules())


def test_a_nested_tensor_is_refused() -> None:
    model = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 1).eval()
    model.hidden_layers = ("layers.0",)  # type: ignore[assignment]
    padding = torch.tensor([[False, False, True], [False, False, False]])
    with pytest.raises(ValueError, match="enable_nested_tensor=False"), torch.no_grad():
        observe(model, (torch.randn(2, 3, 8), None, padding))  # type: ignore[arg-type]


def test_states_of_other_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match=r"hidden states .* do not fit together: \(2, 1, 4\) and \(2, 3, 4\)"):
        hidden_distance(torch.zeros(2, 1, 4), torch.zeros(2, 3, 4))
    with pytest.raises(ValueError, match="attention maps"):
        attention_distance(torch.zeros(2, 2, 3, 3), torch.zeros(2, 1, 4, 4))


class Fails(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        assert not self.training
        assert not torch.is_grad_enabled()
        raise KeyError


def test_a_models_mode_is_restored_even_after_an_error() -> None:
    model = Fails().train()
    with pytest.raises(KeyError), evaluating(model):
        model(*X)
    assert model.training
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_real_hugging_face_models_are_compared_and_trained(attention: str) -> None:
    transformers = pytest.importorskip("transformers")

    class Bert(nn.Module):
        def __init__(self, width: int, depth: int, heads: int) -> None:
            super().__init__()
            sizes = {"vocab_size": 5, "hidden_size": width, "num_hidden_layers": depth, "num_attention_heads": heads}
            config = transformers.BertConfig(**sizes, intermediate_size=width, num_labels=1)
            config._attn_implementation = attention
            self.bert = transformers.BertForSequenceClassification(config)

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = self.bert(x).logits
            return logits

    torch.manual_seed(0)
    student, teacher = Bert(4, depth=2, heads=2), Bert(8, depth=4, heads=4)
    hints = Hints(student, teacher, X)
    ours, theirs = observe(student.eval(), X)[1], observe(teacher.eval(), X)[1]
    assert [len(ours.attention), len(theirs.attention)] == ([2, 4] if attention == "eager" else [0, 0])
    torch.testing.assert_close(hints(ours, theirs), reference(ours, theirs, [*hints.parameters()], [1, 3]))
    data = Data(X, teacher(*X)[:, 0].detach())
    plain, hinted = (
        train(copy.deepcopy(student), data, Squared(), Distill(hidden=h), 0, teacher=teacher) for h in (0.0, 1.0)
    )
    assert not torch.equal(plain(*X), hinted(*X))
