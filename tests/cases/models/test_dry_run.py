"""What cannot be trained, stored or compared: computed weights, state that is lost; refused by name at the start."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.nn.utils import prune as torch_prune

from compressors.compress import compress
from learners.tasks.binary import Binary
from shadowstream import load_artifact
from tests.cases import case
from tests.cases.models.nets import PRUNED, RECIPES, Net, Stateful, made, mlp, rows


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
