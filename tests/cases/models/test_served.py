"""What a forward asks of a served layer: it answers as the plain one; a weight read past its layer stays in float."""

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

from compressors.compress import compress
from compressors.data import Data
from learners.tasks.classes import Classes
from shadowstream import load_artifact
from tests.cases import case
from tests.cases.models.nets import PRUNED, RECIPES, Net, made, mlp, rows


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
