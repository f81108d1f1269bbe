"""What a forward asks of a layer or of itself, and what cannot be compressed: right answers, or refused by name."""

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations
from torch.nn.utils import prune as torch_prune

from compressors.compress import Compressed, compress
from compressors.data import Data
from learners.tasks.binary import Binary
from learners.tasks.classes import Classes
from shadowstream import load_artifact
from tests.cases import case

torch.set_num_threads(1)  # these nets are too small to share among threads, which would only wait for each other

PRUNED = "prune(amount=0.5, scope=lamp) -> retrain(passes=2) -> quantize(int8)"
RECIPES = [
    "quantize(int8)",
    "quantize(int8, inputs=static)",
    "quantize(bfloat16)",
    "quantize(int4, group=8)",
    PRUNED,
    "quantize(int8) -> distill(passes=1)",
    "prune(amount=0.5) -> retrain(passes=1)",
]


def rows(n: int = 120) -> Data:
    x = torch.randn(n, 8, generator=torch.Generator().manual_seed(0))
    return Data((x,), (x[:, 0] + 0.3 * x[:, 1] > 0).float())


def mlp() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 1, bias=False))


def made(model: nn.Module, recipe: str = "quantize(int8)", data: Data | None = None) -> Compressed:
    return compress(model, recipe, data or rows(), Binary())


class Net(nn.Module):
    """Two layers; `between` is what the forward does with the first one's answers and the second layer."""

    def __init__(self, between: Callable[..., Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.between = nn.Linear(8, 16), nn.Linear(16, 1), between

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.between(self, torch.relu(self.a(x)))
        return out


# ── The served layer answers as the plain one ───────────────────────────────────────────────────────────────────────


def asks_all(net: Any, h: Tensor) -> Tensor:
    """Ask whatever a forward may ask of a layer and of its model without reading a weight's numbers."""
    layer = net.b
    assert isinstance(layer, nn.Linear)
    assert isinstance(layer.weight, nn.Parameter)
    assert (layer.in_features, layer.out_features, layer.bias.shape) == (16, 1, (1,))
    assert (layer.weight.shape, layer.weight.ndim, layer.weight.is_floating_point()) == ((1, 16), 2, True)
    first = next(net.parameters())
    h = h.to(layer.weight.dtype).to(first.device).to(first.dtype) + layer.weight.new_zeros(())
    out: Tensor = layer(h + torch.zeros_like(layer.weight).sum() * sum(p.numel() for p in net.parameters()))
    return out


@case("models/04", "transformers#36254", "mlc-llm#1477")
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_forward_asks_a_layer_for_all_but_its_numbers(recipe: str) -> None:
    small = made(Net(asks_all), recipe)
    assert small.parity.largest == 0
    assert not small.description.left


@case("models/04")
@pytest.mark.parametrize("recipe", [*RECIPES[:4], PRUNED])
def test_the_state_of_a_served_model_is_that_of_a_plain_one(recipe: str) -> None:
    small = made(mlp(), recipe)
    state, plain = small.model.state_dict(), mlp()
    assert [(name, t.shape, t.dtype) for name, t in state.items()] == [
        (name, t.shape, t.dtype) for name, t in plain.state_dict().items()
    ]
    assert save(state)
    torch.save(state, buffer := io.BytesIO())
    plain.load_state_dict(torch.load(io.BytesIO(buffer.getvalue())))
    x = rows().inputs[0]
    torch.testing.assert_close(plain(x), small.model(x), rtol=0.05, atol=0.05)
    assert sum(p.numel() for p in small.model.parameters()) == sum(p.numel() for p in mlp().parameters())


@case("models/04")
@pytest.mark.parametrize(
    "turn",
    [
        copy.deepcopy,
        lambda m: pickle.loads(pickle.dumps(m)),
        lambda m: copy.deepcopy(m).half(),
        lambda m: copy.deepcopy(m).bfloat16().float(),
        lambda m: copy.deepcopy(m).double(),
        lambda m: copy.deepcopy(m).to("cpu").train().eval(),
        lambda m: copy.deepcopy(m).share_memory(),
    ],
)
@pytest.mark.parametrize("model", [mlp, lambda: nn.Sequential(nn.Linear(8, 16), nn.Linear(16, 1))])
def test_a_served_model_is_copied_pickled_and_cast(turn: Callable[..., nn.Module], model: Any) -> None:
    served, x = made(model()).model, rows().inputs[0]
    turned = turn(served)
    kind = next(turned.parameters()).dtype
    out = turned(x.to(kind))
    assert out.dtype == kind
    torch.testing.assert_close(out.float(), served(x), rtol=0.02, atol=0.02)
    assert next(served.parameters()).dtype == torch.float32


@case("models/04")
def test_the_numbers_of_a_served_weight_can_be_read_and_not_written() -> None:
    small = made(mlp())
    weight, form = small.model[0].weight, small.form[0].weight_as_served()  # type: ignore[index]
    assert torch.equal(weight.detach() + 0, form)
    assert weight.tolist() == form.tolist()
    assert (weight.numpy() == form.detach().numpy()).all()
    x = torch.randn(3, 8)
    assert torch.equal(F.linear(x, weight), F.linear(x, form))
    assert f"{weight}".endswith("stored=int8)")
    for write in (lambda: weight.data.mul_(2), lambda: weight.copy_(form), lambda: nn.init.zeros_(weight)):
        with pytest.raises(RuntimeError, match="stored in int8 and does not change: compress the new weights"):
            write()
    with pytest.raises(RuntimeError, match="stored in int8 and does not change"):
        small.model.load_state_dict(mlp().state_dict())


class Attention(nn.Module):
    """Attention, an LSTM, a convolution and an embedding, called by torch's own names for arguments."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.emb, self.conv = nn.Embedding(9, 16), nn.Conv1d(8, 16, 1)
        self.lstm, self.attn = nn.LSTM(16, 16, batch_first=True), nn.MultiheadAttention(16, 2, batch_first=True)
        self.fc, self.seen = nn.Linear(16, 1), [0]
        self.fc.register_forward_hook(lambda *_: self.seen.append(self.seen.pop() + 1))

    def forward(self, x: Tensor) -> Tensor:
        h = self.emb(input=(x > 0).long()) + self.conv(input=x[:, :, None].expand(-1, -1, 8)).transpose(1, 2)
        h, _ = self.lstm(input=h, hx=None)
        assert self.attn.in_proj_weight.dtype == h.dtype
        h, _ = self.attn(query=h, key=h, value=h, need_weights=False)
        out: Tensor = self.fc(input=h.mean(1))
        return out


@case("models/10", "models/04")
@pytest.mark.parametrize("recipe", RECIPES)
def test_arguments_have_the_names_that_torch_gives_and_hooks_stay(recipe: str) -> None:
    small = made(Attention(), recipe)
    assert small.parity.largest == 0
    served = load_artifact(small.artifact, Attention)
    state = served.state_dict()
    assert list(state) == list(Attention().state_dict())
    served(rows().inputs[0])
    assert served.seen == [1], "the hook that the model's constructor registers"
    assert torch.equal(copy.deepcopy(served)(rows().inputs[0]), small.model(rows().inputs[0]))


# ── Weights that are read past their layers ─────────────────────────────────────────────────────────────────────────

READS: dict[str, Callable[..., Tensor]] = {
    "cosine": lambda net, h: 16 * F.linear(F.normalize(h), F.normalize(net.b.weight)),
    "norm": lambda net, h: net.b(h) / net.b.weight.norm(),
    "matmul": lambda net, h: h @ net.b.weight.t() + net.b.bias,
    "data": lambda net, h: net.b(h) + net.b.weight.data.mean(),
    "numpy": lambda net, h: net.b(h) + float(net.b.weight.detach().numpy().max()),
    "list": lambda net, h: net.b(h) + net.b.weight.tolist()[0][0],
    "item": lambda net, h: net.b(h) + net.b.weight[0, 0].item(),
    "class": lambda net, h: nn.Linear.forward(net.b, h) + F.linear(h, net.b.weight),
    "replaced": lambda net, h: torch.func.functional_call(net.b, {"weight": net.b.weight * 2}, (h,)),
}


@case("models/05", "models/04")
@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("read", READS)
def test_a_weight_that_is_read_past_its_layer_stays_in_float(read: str, recipe: str) -> None:
    small = made(Net(READS[read]), recipe)
    assert list(small.description.weights) == ["a.weight"]
    assert "its weight is re" in small.description.left["b"]
    assert small.parity.largest == 0


class Tied(nn.Module):
    """A head that multiplies by the embedding's weight."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.emb, self.mid = nn.Embedding(30, 16), nn.Linear(16, 16)

    def forward(self, t: Tensor) -> Tensor:
        return F.linear(torch.tanh(self.mid(self.emb(t).mean(1))), self.emb.weight)


def tokens(n: int = 200) -> Data:
    t = torch.randint(0, 30, (n, 6), generator=torch.Generator().manual_seed(0))
    return Data((t,), t[:, -1].float())


@case("models/05")
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_functional_tie_stays_in_float(recipe: str) -> None:
    small = compress(Tied(), recipe, tokens(), Classes(30))
    assert (list(small.description.weights), list(small.description.left)) == (["mid.weight"], ["emb"])
    assert small.parity.largest == 0


@case("models/05")
def test_a_recipe_for_a_tied_embedding_alone_is_refused_before_it_is_trained() -> None:
    recipe = "prune(amount=0.5, layers=embedding) -> retrain"
    with pytest.raises(ValueError, match=r"compresses no layer .*emb: its weight is read outside its forward"):
        compress(Tied(), recipe, tokens(), Classes(30), progress=lambda *_: pytest.fail("it was trained"))


# ── Weights that are no parameters, and state that is lost ──────────────────────────────────────────────────────────


def hooked(hook: Callable[[nn.Module], object]) -> nn.Sequential:
    net = mlp()
    hook(net[0])
    return net


HOOKS: dict[str, tuple[Callable[[nn.Module], object], str]] = {
    "prune": (lambda m: torch_prune.l1_unstructured(m, "weight", 0.5), "torch.nn.utils.prune.remove"),  # type: ignore[no-untyped-call]
    "prune twice": (
        lambda m: [torch_prune.random_unstructured(m, "weight", 0.2) for _ in range(2)],  # type: ignore[no-untyped-call]
        "torch.nn.utils.prune.remove",
    ),
    "weight_norm": (nn.utils.weight_norm, "remove_weight_norm"),
    "spectral_norm": (nn.utils.spectral_norm, "remove_spectral_norm"),
}


@case("models/06", "pytorch#37322")
@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("used", [None, torch.no_grad, torch.enable_grad])
@pytest.mark.parametrize("recipe", ["quantize(int8)", "quantize(bfloat16)", PRUNED])
@pytest.mark.parametrize("kind", HOOKS)
def test_a_weight_that_a_hook_computes_is_refused_with_the_way_out(kind: str, recipe: str, used: Any) -> None:
    hook, way = HOOKS[kind]
    model = hooked(hook)
    if used:
        with used():
            model(rows().inputs[0])
    with pytest.raises(ValueError, match=rf"^0\.weight is no parameter: a hook computes it .*{way}"):
        made(model, recipe)


@case("models/06")
@pytest.mark.parametrize("recipe", ["quantize(int8)", "quantize(bfloat16)", PRUNED])
@pytest.mark.parametrize("kind", [parametrizations.weight_norm, parametrizations.spectral_norm])
def test_a_parametrized_weight_is_left_and_listed_with_the_way_out(kind: Any, recipe: str) -> None:
    small = made(hooked(kind), recipe)
    assert list(small.description.weights) == ["2.weight"]
    assert "remove_parametrizations" in small.description.left["0"]
    assert small.parity.largest == 0
    with pytest.raises(ValueError, match=r"compresses no layer .*remove_parametrizations"):
        made(nn.Sequential(kind(nn.Linear(8, 1))), recipe)


class Stateful(nn.Module):
    """A model to whose state or answers something is done."""

    def __init__(self, begin: Callable[..., object], step: Callable[..., Any] = lambda *_: 1.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.step, self.count, self.h = nn.Linear(8, 16), nn.Linear(16, 1), step, 0, None
        begin(self)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.b(torch.relu(self.a(x))) * self.step(self)
        return out


def buffer(value: Tensor, **named: Any) -> Callable[[nn.Module], None]:
    return lambda m: m.register_buffer("odd", value, **named)


@case("models/06")
@pytest.mark.parametrize(
    "value",
    [
        torch.tensor([True]), torch.tensor([1], dtype=torch.uint64), torch.tensor([1], dtype=torch.complex128),
        torch.eye(2).to_sparse(), torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8),
        torch.ones(2, device="meta"), torch.full((2, 2), -torch.inf), torch.tensor([1], dtype=torch.uint16),
    ],
)  # fmt: skip
def test_a_buffer_of_any_kind_is_stored_or_refused_by_name(value: Tensor) -> None:
    model = Stateful(buffer(value))
    if value.dtype in (torch.bool, torch.float32) and value.layout is torch.strided and value.device.type == "cpu":
        served = load_artifact(made(model).artifact, lambda: copy.deepcopy(model))
        assert torch.equal(served.get_buffer("odd"), value)
    else:
        with pytest.raises(ValueError, match=r"^odd cannot be stored in an artifact: it is"):
            made(model)


class Extra(nn.Linear):
    """A layer whose state has more than tensors."""

    def get_extra_state(self) -> Any:
        return {"version": 1}

    def set_extra_state(self, state: Any) -> None:
        """Take nothing."""


@case("models/06")
def test_state_that_is_no_tensor_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"^0\._extra_state of the model's state is a dict, .* tensors alone"):
        made(nn.Sequential(Extra(8, 4), nn.Linear(4, 1)))


def counts(net: Any) -> Any:
    net.count += net.training
    return 1.0 + 0.1 * net.count


def moves(net: Any) -> Tensor:
    if net.training:
        net.odd = net.odd * 1.1
    return net.odd  # type: ignore[no-any-return]


@case("models/06")
@pytest.mark.parametrize(
    ("model", "named"),
    [
        (lambda: Stateful(lambda _: None, counts), "count"),
        (lambda: Stateful(buffer(torch.ones(1), persistent=False), moves), r"odd \(a buffer with persistent=False\)"),
    ],
)
def test_what_training_changes_and_the_state_lacks_is_refused_by_name(model: Any, named: str) -> None:
    assert made(model()).parity.largest == 0, "without training nothing changes"
    with pytest.raises(ValueError, match=rf"not in the state_dict, .*changed: {named}"):
        compress(model(), PRUNED, rows(), Binary(), progress=lambda *_: pytest.fail("it was trained"))


@case("models/06")
def test_parameters_without_a_shape_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"^0\.weight has no shape yet: call the model once"):
        made(nn.Sequential(nn.LazyLinear(4), nn.Linear(4, 1)))


def cached(net: Any) -> Tensor:
    if net.h is None:
        net.h = torch.arange(16.0).cos().sum()
    return net.h  # type: ignore[no-any-return]


@case("models/09", "flash-attention#299")
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_form_that_has_cached_a_tensor_goes_on_learning(recipe: str) -> None:
    small = made(Stateful(lambda _: None, cached), recipe)
    small.form.train()
    data = rows()
    Binary().losses(small.form(*data.inputs), data.labels).mean().backward()  # type: ignore[no-untyped-call]
    assert small.form.get_parameter("b.weight").grad is not None
    small.model(*data.inputs)


@case("models/09")
def test_a_model_that_keeps_its_last_answers_is_copied_without_their_graph() -> None:
    def keeps(net: Any, h: Tensor) -> Tensor:
        net.last = [net.b(h)]
        return net.last[0]  # type: ignore[no-any-return]

    model = Net(keeps)
    model(*rows().inputs)
    assert made(model, PRUNED).parity.largest == 0


@case("models/12", "dlrm#15", "pytorch#101370")
@pytest.mark.parametrize("kind", [nn.EmbeddingBag, nn.Embedding])
def test_sparse_gradients_are_refused_by_name_where_something_trains(kind: Any) -> None:
    class Bag(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.e, self.f = kind(100, 8, sparse=True), nn.Linear(8, 1)

        def forward(self, x: Tensor) -> Tensor:
            rows_of = self.e(x.abs().mul(10).long().clamp(max=99))
            out: Tensor = self.f(rows_of if rows_of.dim() == 2 else rows_of.mean(1))
            return out

    assert made(Bag()).parity.largest == 0
    with pytest.raises(ValueError, match=r"^e\.weight gets sparse gradients, .* sparse=False"):
        made(Bag(), "quantize(int8) -> retrain")


# ── Answers drawn anew, autocast, wide inputs, wrappers ─────────────────────────────────────────────────────────────


def grows(net: Any) -> Any:
    net.count += 1
    return 1.0 + 0.01 * net.count


@case("models/13")
@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize(
    ("model", "named"),
    [
        (lambda: Net(lambda net, h: net.b(F.dropout(h, 0.3))), "F.dropout needs training"),
        (lambda: Net(lambda net, h: net.b(h + torch.randn_like(h))), "drawn anew"),
        (lambda: Stateful(lambda _: None, grows), "changed: count"),
    ],
)
def test_a_model_that_answers_differently_when_asked_twice_is_refused(model: Any, named: str, recipe: str) -> None:
    with pytest.raises(ValueError, match=rf"answers the same rows differently when it is asked twice .*{named}"):
        made(model(), recipe)


@case("models/13")
@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("recipe", RECIPES)
def test_autocast_inside_forward_works_with_every_recipe(recipe: str, kind: torch.dtype) -> None:
    class Cast(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.a, self.b = nn.Linear(8, 16), nn.Linear(16, 1)

        def forward(self, x: Tensor) -> Tensor:
            with torch.autocast("cpu", dtype=kind):
                hidden = torch.relu(self.a(x))
                assert hidden.dtype == kind
                out: Tensor = self.b(hidden).float()
            return out

    assert made(Cast(), recipe).parity.largest == 0


class Hashed(nn.Module):
    """Logistic regression over 2^18 hashed inputs, Vowpal Wabbit's default."""

    def __init__(self) -> None:
        super().__init__()
        self.f = nn.Linear(2**18, 1)

    def forward(self, i: Tensor) -> Tensor:
        out: Tensor = self.f(torch.zeros(len(i), 2**18).scatter_(1, i, 1.0))
        return out


@case("models/11")
@pytest.mark.parametrize(
    "recipe",
    [
        "prune(amount=0.9)", "quantize(bfloat16)", "quantize(int4, group=32)", "quantize(int8, inputs=float)",
        "prune(amount=0.5) -> quantize(int8, inputs=static)",
    ],
)  # fmt: skip
def test_a_hashed_model_is_compressed_by_all_that_needs_no_int32_sum(recipe: str) -> None:
    i = torch.randint(0, 2**18, (40, 5), generator=torch.Generator().manual_seed(0))
    small = made(Hashed(), recipe, Data((i,), (i[:, 0] % 2).float()))
    assert small.parity.largest == 0
    assert small.description.bytes < 0.6 * small.description.float_bytes


@case("models/11")
@pytest.mark.parametrize("recipe", ["quantize(int8)", "prune(amount=0.5) -> quantize(int8)"])
def test_what_int8_forbids_is_refused_with_what_would_be_right(recipe: str) -> None:
    i = torch.randint(0, 2**18, (40, 5))
    with pytest.raises(ValueError, match=r"f: 262144 inputs: an int32 sum .* 133144; with inputs=float"):
        made(Hashed(), recipe, Data((i,), (i[:, 0] % 2).float()))


class Parts(nn.Module):
    """A model, a part of which is compiled."""

    def __init__(self, wrap: Callable[[nn.Module], nn.Module]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = wrap(nn.Linear(8, 16)), nn.Linear(16, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.b(torch.relu(self.a(x)))
        return out


def compiled(model: nn.Module) -> nn.Module:
    return torch.compile(model, backend="eager")  # type: ignore[return-value]


WRAPS: dict[str, Callable[..., nn.Module]] = {
    "DataParallel": nn.DataParallel,
    "AveragedModel": torch.optim.swa_utils.AveragedModel,
    "compile": compiled,
    "both": lambda m: nn.DataParallel(compiled(m)),
}


@case("models/16", "nanoGPT#325", "timm#1566")
@pytest.mark.parametrize("recipe", ["quantize(int8)", "quantize(int8) -> distill(passes=1)"])
@pytest.mark.parametrize("wrap", WRAPS)
def test_a_wrapped_model_makes_the_artifact_of_the_plain_one(wrap: str, recipe: str) -> None:
    plain, x = made(mlp(), recipe), rows().inputs[0]
    wrapped = WRAPS[wrap](mlp())
    small = made(wrapped, recipe)
    assert list(small.description.weights) == list(plain.description.weights)
    for factory in (mlp, lambda: WRAPS[wrap](mlp())):
        assert torch.equal(load_artifact(small.artifact, factory)(x), plain.model(x))
    assert compress(wrapped, recipe, rows(), Binary(), factory=mlp).parity.largest == 0
    assert isinstance(wrapped, type(WRAPS[wrap](mlp()))), "the user's model stays wrapped"
    part = made(Parts(WRAPS[wrap]), recipe)
    assert list(part.description.weights) == ["a.weight", "b.weight"]


# ── What does not learn stays as it is ──────────────────────────────────────────────────────────────────────────────


class Lora(nn.Module):
    """A frozen layer with a learned difference of low rank, whose second factor starts at zero."""

    def __init__(self) -> None:
        super().__init__()
        self.base, self.a = nn.Linear(8, 16).requires_grad_(False), nn.Linear(8, 4, bias=False)
        self.b = nn.Linear(4, 16, bias=False)
        nn.init.zeros_(self.b.weight)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.base(x) + self.b(self.a(x))
        return out


def lora() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(Lora(), nn.ReLU(), nn.Linear(16, 1))


@case("models/12")
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("criterion", ["amount=0.5", "amount=0.5, scope=lamp", "amount=0.5, scope=layer", "below=0.05",
                                       "amount=0.5, ramp=0", "pattern='2:4'"])  # fmt: skip
def test_neither_a_frozen_weight_nor_one_that_starts_at_zero_is_pruned(criterion: str) -> None:
    small = made(lora(), f"prune({criterion}) -> retrain(passes=2)")
    masks = dict(small.form.named_buffers())
    assert bool(masks["0.base.mask"].all())
    assert bool(masks["0.b.mask"].all())
    assert not bool(masks["2.mask"].all())
    assert torch.equal(small.form.get_parameter("0.base.weight"), lora().get_parameter("0.base.weight"))
    assert bool(small.form.get_parameter("0.b.weight").any()), "it has learned"
    assert "requires_grad=False" in small.description.left["0.base"]
    assert "all zero" in small.description.left["0.b"]


@case("models/12")
def test_a_wholly_frozen_model_is_quantized_but_not_pruned() -> None:
    frozen = lora().requires_grad_(False)
    assert made(frozen).parity.largest == 0
    with pytest.raises(ValueError, match=r"can be pruned: 0\.base\.weight: it has requires_grad=False"):
        made(frozen, "prune(amount=0.5)")
    with pytest.raises(ValueError, match=r"found no units to remove: .*requires_grad=False, and stays as it is"):
        made(frozen, "prune_structured(amount=0.5)")
