"""Models as people have them, learned online: state in forward, few rows, dropout, parts of any size."""

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
import torch
from torch import Tensor, nn

from compressors.recipe import Recipe
from deploy.learning.candidates import compress
from deploy.pipeline import Pipeline
from learners.online.settings import Online
from shadowstream import Data, load_artifact
from streams.join.store import Store
from tests import small
from tests.cases import case
from tests.cases.models.learn import MODES, Point, Stateful, encode, learner, loss, rebuilt, rows, samples, with_norm
from tests.learned import BAD, PIPELINE, Feed, begun, spoilt
from tests.learned import commits as written


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


def noisy(n: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return rows, labels, and the chance of a yes: at best the loss is that of these chances."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 8, generator=g)
    chance = torch.sigmoid(2 * x[:, 0] - 2 * x[:, 1] + x[:, 2] * x[:, 3])
    return x, torch.bernoulli(chance, generator=g), chance


@case("models/04-cuts")
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
