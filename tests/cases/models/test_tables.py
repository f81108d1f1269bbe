"""Wide tables, frozen parts and state that no commit holds, learned online."""

import time
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from compressors.recipe import Recipe
from deploy.learning.candidates import compress
from deploy.pipeline import Pipeline
from learners.commits.checks import check_state
from learners.online.settings import Online
from shadowstream import Data
from streams.errors import ConfigError
from tests.cases import case
from tests.cases.models.learn import (
    MODES,
    TASK,
    Point,
    Stateful,
    encode,
    learner,
    loss,
    rebuilt,
    rows,
    samples,
    sized,
    with_norm,
)


class Wide(nn.Module):
    def __init__(self, size: int, sparse: bool = False) -> None:
        super().__init__()
        self.size, self.e, self.f = size, nn.Embedding(size, 16, sparse=sparse), nn.Linear(128, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.f(self.e((x * 1e6).long().abs() % self.size).flatten(1))
        return out


class Bag(nn.Module):
    def __init__(self, size: int = 100, sparse: bool = True) -> None:
        super().__init__()
        self.e, self.f = nn.EmbeddingBag(size, 8, sparse=sparse, mode="sum"), nn.Linear(8, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.f(self.e(x.abs().mul(10).long().clamp(max=99)))
        return out


@case("models/15", "dlrm#15")
@pytest.mark.parametrize("recipe", ["quantize(int8)", "prune(amount=0.5) -> quantize(int8)"])
def test_a_table_of_a_million_rows_learns_by_the_rows_touched(recipe: str) -> None:
    log, took = samples(*rows(1_600, 0)), {}
    for size in (1_000, 1_000_000):
        made = learner(lambda size=size: Wide(size), recipe)  # type: ignore[misc]  # bound here, as it must be
        made.learn(log[:320])
        times = []
        for part in made.batches(log[320:]):
            began = time.thread_time()
            made.learn(part)
            times.append(time.thread_time() - began)
        took[size] = min(times)
        values = sum(p.numel() * p.element_size() for p in made.teacher.model.parameters())
        assert sized(made) < (3.5 if size > 1_000 else 10) * values
    assert took[1_000_000] < 3 * took[1_000]  # benchmarks/wide.py measures it: within 2 times


@case("models/12", "dlrm#15", "pytorch#101370")
@pytest.mark.parametrize(
    "model",
    [Bag, lambda: Bag(10_000), lambda: Bag(10_000, sparse=False), lambda: Wide(100, sparse=True), lambda: Wide(10_000)],
)
def test_tables_with_sparse_slopes_learn_and_their_state_is_whole(model: Callable[[], nn.Module]) -> None:
    made, log = learner(model), samples(*rows(700, 0))
    before = loss(made.teacher.model, *rows(300, 0))
    made.learn(log[:300])
    rebuilt(made, model, "quantize(int8)", log[300:])
    assert loss(made.teacher.model, *rows(300, 0)) < before
    weight, mean = (m.get_parameter("e.weight") for m in (made.teacher.model, made.teacher.mean))
    untouched = (made.teacher._tables["e.weight"].last == 0)[:, None]
    assert torch.equal(weight.where(untouched, 0), mean.where(untouched, 0))
    assert not torch.equal(weight, mean)


@case("models/15")
def test_rows_learn_as_they_would_one_batch_at_a_time() -> None:
    """A table in closed form, against the same rule carried out for every row at every batch."""
    torch.manual_seed(0)
    made = learner(
        lambda: nn.Sequential(Ids(), nn.Embedding(5_000, 1, _weight=torch.zeros(5_000, 1)), nn.Flatten()), online=WHOLE
    )
    network = made.teacher
    value, second, mean = torch.zeros(5_000), torch.zeros(5_000), torch.zeros(5_000)
    for n in range(1, 40):
        ids, y = torch.randint(0, 30, (64, 1)), torch.randint(0, 2, (64,)).float()
        slope = torch.zeros(5_000).index_add_(0, ids[:, 0], (torch.sigmoid(value[ids[:, 0]]) - y) / 64)
        network.learn((ids.float(),), y, TASK)
        touched = torch.zeros(5_000).index_fill_(0, ids[:, 0], 1).bool()
        second = 0.999 * second + 0.001 * slope**2
        moved = value * (1 - 1e-5) - 1e-3 * slope / ((second / (1 - 0.999**n)).sqrt() + 1e-8)
        value = torch.where(touched, moved, value)
        mean = mean.lerp(value, 1 - network._average._memory.kept(n - 1.0, float(n)))
        assert torch.allclose(network.model.get_parameter("1.weight")[:, 0], value, atol=1e-6)
        assert torch.allclose(network.mean.get_parameter("1.weight")[:, 0], mean, atol=1e-6)


def one_table() -> nn.Module:
    return nn.Sequential(Ids(), nn.Embedding(5_000, 1, _weight=torch.zeros(5_000, 1)), nn.Flatten())


WHOLE = Online(batch=64)


class Ids(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.long()


def half_frozen() -> nn.Module:
    model = nn.Sequential(
        nn.Linear(8, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1)
    )
    model[:2].requires_grad_(False)
    return model


@case("models/12-frozen")
@pytest.mark.parametrize("recipe", ["quantize(int8)", "prune(amount=0.5) -> quantize(int8) -> distill"])
def test_what_is_frozen_is_not_trained_not_averaged_and_stored_once(recipe: str) -> None:
    made = learner(half_frozen, recipe)
    made.study(Data(*rows(1_000, 0)))
    made.shadow.settle()
    state = made.teacher.model.state_dict()
    first = {name: tensor.clone() for name, tensor in state.items() if name[:2] in ("0.", "1.")}
    log = samples(*rows(700, 1))
    made.learn(log[:300])
    assert [name for name in made.state() if name.endswith("l.0.weight")] == ["teacher.model.0.weight"]
    student = made.shadow.student()
    frozen = {name for name, p in student.named_parameters() if not p.requires_grad}
    assert frozen == {"0.weight", "0.bias", "1.weight", "1.bias"}
    pipeline = Pipeline(name="x", features=Point, encode=encode, model=half_frozen, recipe=Recipe.parse(recipe))
    compress(pipeline, made, student, Data(*rows(1_000, 2)))
    for model in (made.teacher.model, made.teacher.mean, made.shadow.model, made.shadow.mean, student):
        for name, tensor in first.items():
            assert torch.equal(model.state_dict()[name], tensor), name
        assert model.state_dict().get("0.mask", torch.ones(1)).all()
    rebuilt(made, half_frozen, recipe, log[300:])


class Remembers(nn.Module):
    """Adds what it saw last, which is an attribute and no buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.f, self.last = nn.Linear(8, 1), torch.zeros(1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.f(x) + self.last
        if self.training:
            self.last = self.last + x.detach().mean()
        return out


class Sparse(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.f = nn.Linear(8, 1)
        self.register_buffer("links", torch.eye(8).to_sparse())

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.f(torch.sparse.mm(self.get_buffer("links"), x.T).T)
        return out


@case("models/06-state")
@pytest.mark.parametrize(
    ("model", "message"),
    [(Remembers, "goes on to learn otherwise.*register_buffer"), (Sparse, "links cannot be stored")],
)
def test_what_no_state_holds_is_refused_before_anything_is_learned(
    model: Callable[[], nn.Module], message: str
) -> None:
    with pytest.raises((ConfigError, ValueError), match=message):
        check_state(lambda: learner(model), Data(*rows(100, 0)))


@case("models/06-state")
@pytest.mark.parametrize("model", [Stateful, with_norm, Bag, half_frozen, lambda: Wide(10_000), *MODES.values()])
def test_what_a_state_holds_is_learned(model: Callable[[], nn.Module]) -> None:
    check_state(lambda: learner(model), Data(*rows(100, 0)))
