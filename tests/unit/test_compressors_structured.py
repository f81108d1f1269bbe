"""Structured pruning: what is removed is gone, what is kept answers as before, what cannot be followed is named."""

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from compressors.cuts import Place, kind_of
from compressors.families import ATTENTIONS
from compressors.recipe import PruneStructured
from compressors.shapes import SIZES, reshape, shapes
from compressors.structured import Cut, Report, prune_structured

torch.set_num_threads(1)  # these nets are too small to share among threads, which would only wait for each other
HALF = PruneStructured(amount=0.5)
Inputs = tuple[Tensor, ...]


def seeded(make: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(7)
    return make()


def answer(model: nn.Module, inputs: Inputs) -> Any:
    with torch.no_grad():
        return model.eval()(*inputs)


def pruned(make: Callable[[], nn.Module], inputs: Inputs, step: PruneStructured = HALF) -> tuple[nn.Module, Report]:
    """Prune, and check what holds for every model."""
    model, before = seeded(make), seeded(make)
    modes, random = [m.training for m in model.modules()], torch.get_rng_state()
    report = prune_structured(model, step, inputs)
    assert [m.training for m in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), random)
    assert report.parameters_before == sum(p.numel() for p in before.parameters())
    assert report.parameters_after == sum(p.numel() for p in model.parameters())
    assert (report.parameters_after < report.parameters_before) == bool(report.layers)
    assert all(1 <= cut.after < cut.before for cut in report.layers)
    assert not {cut.layer for cut in report.layers} & set(report.left)
    was, now = logits(answer(before, inputs)), logits(answer(model, inputs))
    assert now.shape == was.shape
    assert now.isfinite().all()
    again = seeded(make)
    assert prune_structured(again, step, inputs) == report
    assert all(map(torch.equal, again.state_dict().values(), model.state_dict().values()))
    record = json.loads(json.dumps(shapes(before, model)))
    assert bool(record) == bool(report.layers)
    torch.manual_seed(8)
    fresh = make()
    reshape(fresh, record)
    fresh.load_state_dict(model.state_dict())
    assert torch.equal(logits(answer(fresh, inputs)), now)
    return model, report


def logits(out: Any) -> Tensor:
    tensor: Tensor = out if isinstance(out, Tensor) else next(iter(out.values()))
    return tensor


class Tabular(nn.Module):
    """The flights example's shape of model, with names in an embedding and a LayerNorm."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(20, 4)
        self.layers = nn.Sequential(
            *(nn.Linear(3 * 4 + 5, 32), nn.LayerNorm(32), nn.ReLU(inplace=True)),
            *(nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 1)),
        )

    def forward(self, rows: Tensor, numbers: Tensor) -> Tensor:
        out: Tensor = self.layers(torch.cat([self.table(rows).flatten(1), numbers], 1))
        return out


TABULAR = (torch.arange(18).view(6, 3), torch.linspace(-2, 2, 30).view(6, 5))


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


def test_what_cannot_be_followed_is_left_and_named_and_the_rest_goes() -> None:
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


def test_what_was_followed_wrongly_is_put_back() -> None:
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


def damaged(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    model, _ = copied(Tabular)
    record = copy.deepcopy(shapes(seeded(Tabular), model))
    change(record)
    return record


def copied(make: Callable[[], nn.Module]) -> tuple[nn.Module, Report]:
    model = seeded(make)
    return model, prune_structured(model, HALF, TABULAR)


@pytest.mark.parametrize(
    "change",
    [
        lambda r: r.update({"layers.9": {"sizes": {}, "tensors": {}}}),
        lambda r: r["layers.0"].update(more={}),
        lambda r: r["layers.0"].update(sizes=3),
        lambda r: r["layers.0"]["sizes"].update(training=1),
        lambda r: r["layers.0"]["sizes"].update(num_heads=1),
        lambda r: r["layers.0"]["sizes"].update(out_features=0),
        lambda r: r["layers.0"]["sizes"].update(out_features=-4),
        lambda r: r["layers.0"]["sizes"].update(out_features=33),
        lambda r: r["layers.0"]["sizes"].update(out_features=True),
        lambda r: r["layers.0"]["sizes"].update(out_features=15),
        lambda r: r["layers.0"]["tensors"].update(weight=[16, 1 << 60]),
        lambda r: r["layers.0"]["tensors"].update(weight=[16, 16]),
        lambda r: r["layers.0"]["tensors"].update(weight=[16]),
        lambda r: r["layers.0"]["tensors"].update(weight="16"),
        lambda r: r["layers.0"]["tensors"].update(other=[16]),
        lambda r: r["layers.3"]["tensors"].pop("weight"),
    ],
)
def test_a_damaged_record_is_refused_and_nothing_changes(change: Callable[[dict[str, Any]], object]) -> None:
    fresh = seeded(Tabular)
    with pytest.raises(ValueError, match="shapes"):
        reshape(fresh, damaged(change))
    assert all(map(torch.equal, fresh.state_dict().values(), seeded(Tabular).state_dict().values()))


def test_models_of_another_making_have_no_shapes_between_them() -> None:
    with pytest.raises(ValueError, match="one making"):
        shapes(seeded(Tabular), seeded(Lstm))
    with pytest.raises(ValueError, match="one making"):
        shapes(nn.Sequential(nn.Linear(2, 2)), nn.Sequential(nn.ReLU()))
    with pytest.raises(ValueError, match="other tensors"):
        shapes(nn.Linear(2, 2), nn.Linear(2, 2, bias=False))


def test_every_attribute_that_a_cut_changes_is_one_that_shapes_know() -> None:
    modules: list[nn.Module] = [nn.Linear(2, 2), nn.Conv1d(2, 2, 1), nn.Conv2d(2, 2, 1, groups=2)]
    modules += [nn.BatchNorm1d(2), nn.BatchNorm2d(2), nn.LayerNorm(2)]
    kinds = [kind for module in modules if (kind := kind_of(module))]
    assert len(kinds) == len(modules)
    assert {name for kind in kinds for name in (*kind.unit_sizes, *kind.column_sizes)} <= SIZES
    assert {name for form in ATTENTIONS for name in form.sizes} <= SIZES
    assert Place(modules[0], "units", kinds[0]).size == 2


SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 50, "num_labels": 3}
TOKENS = (torch.arange(1, 15).view(2, 7), torch.tensor([[1] * 7, [1] * 4 + [0] * 3]))  # with padding


def test_bert_loses_heads_and_feed_forward_rows() -> None:
    hf = pytest.importorskip("transformers")
    config = hf.BertConfig(**SMALL, intermediate_size=64)
    model, report = pruned(lambda: hf.BertForSequenceClassification(config), TOKENS)
    cuts = {cut.layer: (cut.unit, cut.before, cut.after) for cut in report.layers}
    for i in (0, 1):
        layer = f"bert.encoder.layer.{i}"
        assert cuts[f"{layer}.attention.self"] == ("heads", 4, 2)
        assert cuts[f"{layer}.intermediate.dense"] == ("neurons", 64, 32)
        assert model.get_parameter(f"{layer}.attention.self.query.weight").shape == (16, 32)
        assert model.get_parameter(f"{layer}.attention.output.dense.weight").shape == (32, 16)
        assert f"{layer}.output.dense" in report.left
    assert "classifier" in report.left


def test_llama_loses_keys_with_the_queries_that_share_them_and_gates_with_what_they_gate() -> None:
    hf = pytest.importorskip("transformers")
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "vocab_size": 50}
    config = hf.LlamaConfig(**sizes, num_attention_heads=8, num_key_value_heads=4)
    model, report = pruned(lambda: hf.LlamaForCausalLM(config), TOKENS)
    cuts = {cut.layer.split(".", 3)[-1]: (cut.unit, cut.before, cut.after) for cut in report.layers}
    assert cuts == {
        "self_attn": ("heads", 4, 2),
        **dict.fromkeys(["mlp.gate_proj", "mlp.up_proj"], ("neurons", 64, 32)),
    }
    shape = {name.split(".")[-2]: tuple(p.shape) for name, p in model.named_parameters()}
    assert (shape["q_proj"], shape["k_proj"], shape["o_proj"]) == ((16, 32), (8, 32), (32, 16))


def test_distilbert_does_too() -> None:
    hf = pytest.importorskip("transformers")
    config = hf.DistilBertConfig(dim=32, n_layers=2, n_heads=4, hidden_dim=64, vocab_size=50, num_labels=3)
    _, report = pruned(lambda: hf.DistilBertForSequenceClassification(config), TOKENS)
    assert [cut.unit for cut in report.layers].count("heads") == 2


@pytest.mark.parametrize("kind", ["sdpa", "eager"])
def test_gpt2_loses_heads_and_feed_forward_rows(kind: str) -> None:
    hf = pytest.importorskip("transformers")
    config = hf.GPT2Config(n_embd=32, n_layer=2, n_head=4, vocab_size=50, n_positions=16, attn_implementation=kind)
    model, report = pruned(lambda: hf.GPT2LMHeadModel(config), TOKENS[:1])
    cuts = {cut.layer: (cut.unit, cut.before, cut.after) for cut in report.layers}
    assert cuts["transformer.h.0.attn"] == ("heads", 4, 2)
    assert cuts["transformer.h.1.mlp.c_fc"] == ("neurons", 128, 64)
    assert model.get_parameter("transformer.h.0.attn.c_attn.weight").shape == (32, 48)
    assert "transformer.wte" in report.left["lm_head"]
