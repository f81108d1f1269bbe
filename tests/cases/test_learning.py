"""Models as people have them, learned online: state in forward, few rows, dropout, wide tables, frozen parts."""

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from msgspec import Raw
from torch import Tensor, nn

from compressors.recipe import Recipe
from deploy.learning.candidates import compress
from deploy.pipeline import Pipeline
from learners.commits import commit as commits
from learners.commits.checks import check_state
from learners.online.batches import Encoder
from learners.online.learner import Learner
from learners.online.settings import Online
from learners.tasks.binary import Binary
from shadowstream import Data, load_artifact
from streams.errors import ConfigError
from streams.events import Prediction, Sample
from streams.join.store import Store
from tests import small
from tests.cases import case
from tests.learned import BAD, PIPELINE, Feed, begun, spoilt
from tests.learned import commits as written

TASK = Binary()


class Point(msgspec.Struct):
    x: list[float]


def encode(points: Sequence[Any]) -> tuple[Tensor, ...]:
    return (torch.tensor([p.x for p in points], dtype=torch.float32),)


def samples(x: Tensor, y: Tensor) -> list[Sample]:
    def one(i: int, row: list[float], label: float) -> Sample:
        asked = Prediction(str(i), i, 0, (0.0,), (0.0,), 0, Raw(msgspec.json.encode(Point(row))))
        return Sample(str(i), "joined", 0, i, label, i, asked)

    return [one(i, row, label) for i, (row, label) in enumerate(zip(x.tolist(), y.tolist(), strict=True))]


def learner(model: Callable[[], nn.Module], recipe: str = "quantize(int8)", online: Online | None = None) -> Learner:
    return Learner(model, TASK, Encoder(Point, encode), Recipe.parse(recipe), online or Online(), seed=0)


def rows(n: int, seed: int, shift: float = 0.0, scale: float = 1.0) -> tuple[Tensor, Tensor]:
    """Eight numbers, the first two of which say on which side of a line a row is."""
    z = torch.randn(n, 8, generator=torch.Generator().manual_seed(seed))
    return z * scale + shift, (z[:, 0] + 0.5 * z[:, 1] > 0).float()


def loss(model: nn.Module, x: Tensor, y: Tensor) -> float:
    with torch.no_grad():
        return float(TASK.losses(copy.deepcopy(model).eval()(x), y).mean())


def sized(learner: Learner) -> int:
    return sum(v.numel() * v.element_size() for v in learner.state().values())


def rebuilt(learner: Learner, model: Callable[[], nn.Module], recipe: str, more: list[Sample]) -> None:
    """Check that a state, saved and loaded, goes on with the same bits, in the middle of a batch too."""
    other = learner.__class__(model, TASK, Encoder(Point, encode), Recipe.parse(recipe), learner._spec, seed=0)
    other.load(commits.unpack_state(commits.pack_state(learner.state())))
    for part in (more[:7], more[7:100], more[100:]):
        assert torch.equal(learner.learn(part), other.learn(part))
        assert commits.pack_state(learner.state()) == commits.pack_state(other.state())


# ── Everything that changes in forward is state ─────────────────────────────────────────────────────────────────────


def with_norm() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 1))


def anew(model: nn.Module, x: Tensor) -> nn.Module:
    """Return the model with its norms' statistics measured on these rows alone."""
    model = copy.deepcopy(model).train()
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm1d):
            norm.reset_running_stats()
            norm.momentum = None
    with torch.no_grad():
        for part in torch.split(x, 250):
            model(part)
    return model


@case("models/01", "pytorch#84053", "mean-teacher#9")
def test_the_averages_statistics_follow_the_feed_and_candidates_have_them() -> None:
    recipe = "prune(amount=0.5) -> quantize(int8) -> distill"
    made = learner(with_norm, recipe)
    made.study(Data(*rows(5_000, 0)))
    made.shadow.settle()
    x, y = rows(10_000, 1, 5.0, 3.0)  # a feature is now in other units
    for part in made.batches(samples(x, y)):
        made.learn(part)
    held = rows(4_000, 2, 5.0, 3.0)
    for network in (made.teacher, made.shadow):
        assert abs(loss(network.mean, *held) - loss(anew(network.mean, x[-4_000:]), *held)) < 0.01
        assert loss(network.mean, *held) < 0.39
    pipeline = Pipeline(name="x", features=Point, encode=encode, model=with_norm, recipe=Recipe.parse(recipe))
    candidate, figures = compress(pipeline, made, made.shadow.student(), Data(x, y))
    assert candidate.refusal is None
    assert figures.loss is not None
    assert loss(load_artifact(candidate.artifact, with_norm), *held) < loss(made.teacher.model, *held) + 0.05
    rebuilt(made, with_norm, recipe, samples(*rows(200, 3)))


class Stateful(nn.Module):
    """Buffers of each kind change in forward: a counter, one that is not persistent, one that grows, one made late."""

    seen: Tensor
    drift: Tensor
    cache: Tensor
    late: Tensor | None

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.out = nn.utils.parametrizations.spectral_norm(nn.Linear(8, 8)), nn.Linear(8, 1)
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))
        self.register_buffer("drift", torch.zeros(8), persistent=False)
        self.register_buffer("cache", torch.zeros(0, 8))
        self.register_buffer("late", None)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.seen += len(x)
            self.drift = torch.lerp(self.drift, x.mean(0), 0.1)
            self.cache = torch.cat([self.cache, x[:1]])[-5:]
            self.late = x[-1:].double() if self.late is None else self.late + 1
        out: Tensor = self.out(torch.tanh(self.inner(x - self.drift)))
        return out


@case("models/01")
@pytest.mark.parametrize("recipe", ["quantize(int8)", "quantize(int8, inputs=static)"])
def test_every_buffer_is_state_whatever_its_shape_and_the_average_has_the_models(recipe: str) -> None:
    made = learner(Stateful, recipe)
    log = samples(*rows(500, 0))
    made.learn(log[:300])
    assert int(made.teacher.mean.get_buffer("seen")) == 300
    for name in ("drift", "cache", "late"):
        assert torch.equal(made.teacher.mean.get_buffer(name), made.teacher.model.get_buffer(name))
    rebuilt(made, Stateful, recipe, log[300:])


# ── Any number of rows ──────────────────────────────────────────────────────────────────────────────────────────────


def narrow(norm: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(nn.Linear(4, 16), norm(), nn.ReLU(), nn.Linear(16, 1))


NORMS: dict[str, Callable[[], nn.Module]] = {
    "BatchNorm1d": lambda: nn.BatchNorm1d(16),
    "BatchNorm1d without momentum": lambda: nn.BatchNorm1d(16, momentum=None),
    "BatchNorm2d": lambda: nn.Sequential(nn.Unflatten(1, (16, 1, 1)), nn.BatchNorm2d(16), nn.Flatten()),
    "InstanceNorm1d": lambda: nn.Sequential(
        nn.Unflatten(1, (16, 1)), nn.InstanceNorm1d(16, track_running_stats=True), nn.Flatten()
    ),
    "GroupNorm": lambda: nn.GroupNorm(4, 16),
}


@case("models/03", "pytorch#4534")
@pytest.mark.parametrize("norm", NORMS)
def test_samples_that_come_one_at_a_time_are_learned(norm: str, embedded_store: Store, tmp_path: Path) -> None:
    pipeline = replace(PIPELINE, model=narrow(NORMS[norm]))
    feed = Feed(embedded_store, begun(tmp_path / "first", pipeline), tmp_path / "f", small.samples(10), 1, pipeline)
    role = feed.learner(1_000)
    for _ in range(10):
        feed.join(most=1)
        assert role.step(1)
    feed.finish(role)
    feed.check(role)
    assert role._learner.learned == 10


@case("models/03")
def test_only_the_poison_among_good_samples_is_set_aside(embedded_store: Store, tmp_path: Path) -> None:
    pipeline, log = replace(PIPELINE, model=narrow(NORMS["BatchNorm1d"])), small.samples(100)
    log[25] = spoilt(log[25], BAD)
    feed = Feed(embedded_store, begun(tmp_path / "first", pipeline), tmp_path / "f", log, 1, pipeline)
    role = feed.learner(1_000)
    feed.join()
    while role.step(1):
        pass
    feed.finish(role)
    feed.check(role, [log[25].id])
    assert sum(len(one.quarantined) for one in written(feed.registry)) == 1


@case("models/03")
@pytest.mark.parametrize("count", [1, 2, 257])
def test_a_history_of_any_length_is_studied(count: int) -> None:
    made = learner(with_norm)
    made.study(Data(*rows(count, 0)))
    assert all(tensor.isfinite().all() for tensor in made.state().values())


# ── Test-then-train scores the deployed arithmetic ──────────────────────────────────────────────────────────────────


class Own(nn.Module):
    """Its forward itself asks for the mode."""

    def __init__(self) -> None:
        super().__init__()
        self.f = nn.Linear(8, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.f(nn.functional.dropout(x, 0.5, self.training))
        return out


MODES: dict[str, Callable[[], nn.Module]] = {
    "dropout": lambda: nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Dropout(0.5), nn.Linear(64, 1)),
    "batch norm": with_norm,
    "own forward": Own,
    "plain": lambda: nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 1)),
}


@case("models/17")
@pytest.mark.parametrize("name", MODES)
def test_the_answers_are_those_of_the_same_weights_in_eval_mode(name: str) -> None:
    made = learner(MODES[name])
    made.study(Data(*rows(1_000, 0)))
    made.shadow.settle()
    for part in made.batches(samples(*rows(300, 1))):
        x = encode([msgspec.json.decode(s.prediction.features, type=Point) for s in part])[0]
        expected = copy.deepcopy(made.shadow.model).eval()(x)
        assert torch.equal(made.learn(part), expected)
    assert made._two_modes == (name != "plain")


# ── The speed of learning belongs to samples ────────────────────────────────────────────────────────────────────────


def noisy(n: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return rows, labels, and the chance of a yes: at best the loss is that of these chances."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 8, generator=g)
    chance = torch.sigmoid(2 * x[:, 0] - 2 * x[:, 1] + x[:, 2] * x[:, 3])
    return x, torch.bernoulli(chance, generator=g), chance


@case("models/04-cuts", "design/algorithms.md")
@pytest.mark.parametrize("model", ["plain", "dropout"])
def test_parts_of_5_and_of_42_end_alike_and_near_the_best(model: str) -> None:
    x, y, _ = noisy(8_000, 0)
    hx, hy, chance = noisy(4_000, 1)
    best = float(nn.functional.binary_cross_entropy(chance, hy))
    ends, log = [], samples(x, y)
    for size in (5, 42):
        made = learner(MODES[model])
        for start in range(0, len(log), size):
            made.learn(log[start : start + size])
        ends.append((loss(made.teacher.mean, hx, hy), loss(made.shadow.mean, hx, hy)))
    teachers, shadows = zip(*ends, strict=True)
    for losses in (teachers, shadows):
        assert max(losses) - min(losses) < 0.01
        assert max(losses) < best + 0.12


@case("models/04-cuts")
def test_batches_that_time_ends_early_learn_alike() -> None:
    x, y, _ = noisy(8_000, 0)
    hx, hy, _ = noisy(4_000, 1)
    losses = []
    for batch_s in (1e9, 0.0235):  # samples are a millisecond apart: batches of 32, and of 24
        made = learner(MODES["plain"], online=Online(batch_s=batch_s))
        made.learn(samples(x, y))
        losses.append(loss(made.teacher.mean, hx, hy))
    assert abs(losses[0] - losses[1]) < 0.01


# ── Wide tables cost by the rows that a batch touches ───────────────────────────────────────────────────────────────


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


# ── What does not learn stays as it is ──────────────────────────────────────────────────────────────────────────────


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


# ── What a commit cannot hold is refused at the start ───────────────────────────────────────────────────────────────


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
