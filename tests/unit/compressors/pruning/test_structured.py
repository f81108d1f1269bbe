"""Structured pruning: what is removed is gone, what is kept answers as before, what cannot be traced is named."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from compressors.pruning.structured import Cut, prune_structured
from compressors.recipe import PruneStructured
from tests.pruned import HALF, TABULAR, Tabular, answer, pruned, seeded


def test_neurons_go_with_what_reads_them_and_inputs_and_outputs_stay() -> None:
    model, report = pruned(Tabular, TABULAR, PruneStructured(amount=0.25))
    shape = {name: list(p.shape) for name, p in model.named_parameters()}
    assert shape["layers.0.weight"] == [24, 17]
    assert shape["layers.1.weight"] == shape["layers.1.bias"] == shape["layers.0.bias"] == [24]
    assert shape["layers.3.weight"] == [12, 24]
    assert shape["layers.5.weight"] == [1, 12]
    assert report.layers == (Cut("layers.0", "neurons", 32, 24), Cut("layers.3", "neurons", 16, 12))
    assert report.left == {"layers.5": "its units reach the model's output, where they cannot be cut"}


def test_the_units_with_the_smallest_norm_go_and_the_others_do_not_notice() -> None:
    def make() -> nn.Module:
        return nn.Sequential(nn.Linear(6, 10), nn.Tanh(), nn.Linear(10, 3))

    plain, x = seeded(make), torch.randn(5, 6)
    first, last = plain.get_submodule("0"), plain.get_submodule("2")
    assert isinstance(first, nn.Linear)
    assert isinstance(last, nn.Linear)
    square = first.weight.square().sum(1) + first.bias.square() + last.weight.square().sum(0)
    gone = square.argsort()[:3]
    with torch.no_grad():
        last.weight[:, gone] = 0
    model, _ = pruned(make, (x,), PruneStructured(amount=0.3))
    torch.testing.assert_close(answer(model, (x,)), answer(plain, (x,)))
    kept = sorted(set(range(10)) - set(gone.tolist()))
    assert torch.equal(model.get_parameter("0.weight"), first.weight[kept])


def test_one_unit_stays_and_a_share_of_less_than_one_is_named() -> None:
    def make() -> nn.Module:
        return nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))

    model, _ = pruned(make, (torch.randn(2, 4),), PruneStructured(amount=0.99))
    assert model.get_parameter("0.weight").shape == (1, 4)
    _, report = pruned(make, (torch.randn(2, 4),), PruneStructured(amount=0.1))
    assert "less than one" in report.left["0"]


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.second, self.last = nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.last(self.second(F.relu(self.norm(self.first(x))))))


class Conv(nn.Module):
    """A stem, residual blocks, a squeeze-and-excite gate, a depthwise convolution, and a head over flat pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.blocks = nn.Sequential(Block(8), Block(8))
        self.squeeze, self.excite = nn.Linear(8, 4), nn.Linear(4, 8)
        self.depth, self.point = nn.Conv2d(8, 8, 3, groups=8, stride=2), nn.Conv2d(8, 6, 1)
        self.head = nn.Linear(6 * 3 * 3, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(F.relu(self.norm(self.stem(x))))
        x = x * torch.sigmoid(self.excite(F.relu(self.squeeze(x.mean((2, 3))))))[:, :, None, None]
        out: Tensor = self.head(F.relu(self.point(self.depth(x))).flatten(1))
        return out


def test_channels_go_through_norms_sums_gates_and_depthwise_layers() -> None:
    model, report = pruned(Conv, (torch.randn(2, 3, 8, 8),))
    assert {cut.layer: (cut.before, cut.after) for cut in report.layers} == {
        **dict.fromkeys(["stem", "blocks.0.second", "blocks.1.second", "excite"], (8, 4)),
        **dict.fromkeys(["blocks.0.first", "blocks.1.first"], (8, 4)),
        "squeeze": (4, 2),
        "point": (6, 3),
    }
    assert set(report.left) == {"head"}
    assert model.get_parameter("depth.weight").shape == (4, 1, 3, 3)
    assert model.get_buffer("norm.running_mean").shape == (4,)
    assert model.get_parameter("head.weight").shape == (5, 3 * 3 * 3)


def test_units_that_were_not_asked_for_stay() -> None:
    _, report = pruned(Conv, (torch.randn(2, 3, 8, 8),), PruneStructured(amount=0.5, units=("neurons",)))
    assert {cut.layer for cut in report.layers} >= {"squeeze"}
    assert "blocks.0.first" not in {cut.layer for cut in report.layers} | set(report.left)


class Lstm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table, self.inner = nn.Embedding(9, 6), nn.Linear(6, 6)
        self.lstm = nn.LSTM(6, 8, batch_first=True)
        self.hidden, self.out = nn.Linear(8, 12), nn.Linear(12, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        states, _ = self.lstm(self.inner(self.table(tokens)))
        out: Tensor = self.out(F.relu(self.hidden(states[:, -1])))
        return out


def test_a_recurrent_layer_is_left_and_so_is_what_feeds_it() -> None:
    _, report = pruned(Lstm, (torch.randint(0, 9, (3, 5)),))
    assert report.layers == (Cut("hidden", "neurons", 12, 6),)
    assert "LSTM" in report.left["lstm"]
    assert "'lstm' (LSTM)" in report.left["inner"]


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(11, 16)
        layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.out = nn.Linear(16, 2)

    def forward(self, tokens: Tensor) -> Tensor:
        out: Tensor = self.out(self.encoder(self.table(tokens)).mean(1))
        return out


def test_a_transformer_encoder_loses_feed_forward_rows() -> None:
    model, report = pruned(Encoder, (torch.randint(0, 11, (3, 7)),))
    assert [(c.layer, c.before, c.after) for c in report.layers] == [
        (f"encoder.layers.{i}.linear1", 32, 16) for i in (0, 1)
    ]
    assert model.get_parameter("encoder.layers.1.linear2.weight").shape == (16, 16)
    assert "head" in report.left["encoder.layers.0.self_attn"]
    assert {"encoder.layers.0.linear2", "encoder.layers.1.linear2", "out"} <= set(report.left)


class Tied(nn.Module):
    """One weight under two layers, and one layer called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.out = nn.Embedding(10, 8), nn.Linear(8, 10, bias=False)
        self.out.weight = self.table.weight
        self.twice, self.wide, self.back = nn.Linear(8, 8), nn.Linear(8, 16), nn.Linear(16, 8)

    def forward(self, tokens: Tensor) -> Tensor:
        out: Tensor = self.out(self.back(F.relu(self.wide(self.twice(self.twice(self.table(tokens)))))))
        return out


def test_shared_weights_are_left_where_cutting_would_tear_them() -> None:
    model, report = pruned(Tied, (torch.arange(6).view(2, 3),))
    assert report.layers == (Cut("wide", "neurons", 16, 8),)
    assert set(report.left) == {"table", "out", "twice", "back"}
    assert model.get_parameter("out.weight") is model.get_parameter("table.weight")


class Deciding(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 8), nn.Linear(8, 2), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = self.a(x)
        out: Tensor = self.b(h) if h.mean() > 0 else self.c(h)
        return out


def test_a_forward_that_decides_by_the_data_is_left_whole() -> None:
    _, report = pruned(Deciding, (torch.randn(3, 4),))
    assert report.layers == ()
    assert "decides by the data" in report.left[""]


class Routed(Deciding):
    """Decides by the ids that it gets; one way is not taken."""

    def forward(self, x: Tensor) -> Tensor:
        ids = (10 * x).long()
        out: Tensor = self.b(self.a(x)) if ids[0, 0] * 0 == 0 else self.c(self.a(x))
        return out


def test_so_is_one_that_decides_by_what_it_computed() -> None:
    _, report = pruned(Routed, (torch.randn(3, 4),))
    assert "decides by the data" in report.left[""]


class Odd(nn.Module):
    """Layers whose units are read in every awkward way."""

    def __init__(self) -> None:
        super().__init__()
        self.fixed, self.sliced, self.mixed = nn.Linear(4, 8), nn.Linear(4, 8), nn.Linear(4, 8)
        self.gate, self.up, self.turned, self.unused = (nn.Linear(4, 8) for _ in range(4))
        self.grouped, self.after = nn.Conv1d(4, 8, 1, groups=2), nn.Conv1d(8, 4, 1)
        self.skip, self.scale, self.scaled = nn.Linear(4, 4), nn.Linear(4, 1), nn.Linear(4, 8)
        self.a, self.b, self.c, self.d = nn.Linear(8, 2), nn.Linear(5, 2), nn.Linear(8, 2), nn.Linear(8, 2)
        self.e, self.f, self.g, self.h = nn.Linear(24, 2), nn.Linear(4, 2), nn.Linear(4, 2), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        rows = x[:, None].expand(-1, 3, -1)
        parts = [
            self.a(self.fixed(x).view(len(x), 8)),
            self.b(self.sliced(x)[:, :5]),
            self.c(self.mixed(x).softmax(1)),
            self.d(F.silu(self.gate(x)) * self.up(x)),
            self.e(self.turned(rows).transpose(1, 2).flatten(1)),
            self.f(self.after(self.grouped(rows.transpose(1, 2))).mean(2)),
            self.g(x + self.skip(x)),
            self.h(self.scaled(x) * self.scale(x)),
        ]
        return torch.stack(parts).sum(0)


def test_what_cannot_be_traced_is_left_and_named_and_the_rest_goes() -> None:
    _, report = pruned(Odd, (torch.randn(3, 4),))
    assert {cut.layer for cut in report.layers} == {"gate", "up", "turned", "after"}
    for layer, why in {
        "fixed": "the model fails: shape",
        "sliced": "of its 8 units 5 are read",
        "mixed": "mixed before 'c' reads them",
        "grouped": "2 groups of channels",
        "skip": "the model fails: The size of tensor",
        "unused": "does not call it",
        "scale": "not each read alone",
        "scaled": "not each read alone",
    }.items():
        assert why in report.left[layer], report.left[layer]
    assert set("abcdefgh") <= set(report.left)


class Counting(nn.Module):
    """Writes into a buffer in eval mode too."""

    peak: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("peak", torch.zeros(()))
        self.a, self.b = nn.Linear(4, 8), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = self.a(x)
        self.peak.copy_(torch.maximum(self.peak, h.abs().max()))
        out: Tensor = self.b(h)
        return out


def test_probing_leaves_no_trace_in_buffers_and_hooks() -> None:
    model = seeded(Counting)
    heard: list[int] = []
    model.get_submodule("a").register_forward_hook(lambda _, __, out: heard.append(out.shape[1]))
    report = prune_structured(model, HALF, (torch.randn(3, 4),))
    assert report.layers
    assert float(model.get_buffer("peak")) == 0
    model(torch.randn(3, 4))
    assert heard[-1] == 4


class Hidden(nn.Module):
    """NaN does not show that the comparison reads all units; removing some changes the answer."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 8), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = self.a(x)
        out: Tensor = self.b(h) + (h > 0).sum(1, keepdim=True)
        return out


def test_what_was_traced_wrongly_is_put_back() -> None:
    model, report = pruned(Hidden, (torch.randn(16, 4),))
    assert "a way that was not found" in report.left["a"]
    assert all(map(torch.equal, model.state_dict().values(), seeded(Hidden).state_dict().values()))


def test_a_model_that_does_not_run_and_one_with_a_nan_are_refused_unchanged() -> None:
    model = seeded(Tabular)
    with pytest.raises(ValueError, match="does not run"):
        prune_structured(model, HALF, (torch.zeros(1),))
    assert "forward" not in vars(model.get_submodule("layers.0"))
    model.get_parameter("layers.0.weight").data[0, 0] = float("nan")
    with pytest.raises(ValueError, match="not finite"):
        prune_structured(model, HALF, TABULAR)
    assert model.get_parameter("layers.0.weight").shape == (32, 17)


def test_a_pruned_model_can_be_pruned_again_and_trained() -> None:
    model, first = pruned(Tabular, TABULAR)
    second = prune_structured(model, HALF, TABULAR)
    assert [(c.before, c.after) for c in second.layers] == [(16, 8), (8, 4)]
    assert second.parameters_before == first.parameters_after
    optimizer = torch.optim.AdamW(model.train().parameters())
    model(*TABULAR).square().mean().backward()
    optimizer.step()
