"""Bytes in requests, and labels of every kind, through every role: from a request in Kafka to the next candidate."""

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from compressors.recipe import Recipe
from deploy import config
from deploy.learning.bootstrap import bootstrap
from deploy.learning.candidates import make_learner
from deploy.pipeline import Labelled, Pipeline
from deploy.processes.roles import JOINER_PREFIX, Plan, Role, build
from deploy.registry.kinds import CANDIDATES, COMMITS
from deploy.registry.opening import open_registry
from deploy.registry.rebuild import check as check_rebuild
from deploy.registry.records import Privacy
from deploy.registry.registry import Registry
from learners.commits import commit as commits
from learners.evaluation.gate import Promotion
from learners.live.settings import Live
from learners.online.private import Private
from learners.tasks.bandit import Bandit
from learners.tasks.classes import Classes
from learners.tasks.multilabel import MultiLabel
from learners.tasks.regression import Regression
from streams.events import Prediction, Record
from streams.join.policy import JoinPolicy
from streams.join.store import Store
from streams.kafka import Sink, Source, Tp, ensure_topics
from streams.kafka.reading.scan import records
from tests import small, text
from tests.conftest import Running
from tests.learned import until

SIDE, UNIT, DAYS = 6, 1e4, 3  # days between commits, of 24 samples each


class Measured(msgspec.Struct):
    weight: float
    height: float


def measures(rows: Sequence[Any]) -> tuple[Tensor, ...]:
    return (torch.tensor([[row.weight, row.height, 0, 0] for row in rows], dtype=torch.float32),)


class Photo(msgspec.Struct):
    pixels: bytes


def decode(photos: Sequence[Any]) -> tuple[Tensor, ...]:
    flat = np.frombuffer(b"".join(photo.pixels for photo in photos), dtype=np.uint8)
    return (torch.from_numpy(flat.astype(np.float32) / 255).reshape(-1, 1, SIDE, SIDE),)


def photo(rng: np.random.Generator) -> tuple[Photo, float]:
    pixels = rng.integers(0, 256, SIDE * SIDE, dtype=np.uint8)
    return Photo(pixels.tobytes()), float(pixels[: SIDE * SIDE // 2].mean() > 127)


def house(rng: np.random.Generator) -> tuple[Measured, float]:
    x = rng.normal(size=2).round(3)
    return Measured(*x.tolist()), float(UNIT * (3 + x[0] - 0.5 * x[1]))


def pet(rng: np.random.Generator) -> tuple[Measured, str]:
    x = rng.normal(size=2).round(3)
    return Measured(*x.tolist()), ("cat", "dog", "bird")[int(x[0] > 0) + int(x[1] > 0)]


def tagged(rng: np.random.Generator) -> tuple[Measured, list[str]]:
    x = rng.normal(size=2).round(3)
    return Measured(*x.tolist()), [name for name, applies in zip(("big", "old"), x > 0, strict=True) if applies]


def choice(rng: np.random.Generator) -> tuple[small.Point, dict[str, Any]]:
    x, action = rng.normal(size=4).round(3), int(rng.random() < 0.3)
    done = {"action": action, "reward": float((x[0] > 0) == action), "propensity": 0.3 if action else 0.7}
    return small.Point(tuple(x.tolist())), done


def four() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 4))


def three() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3))


def cnn() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(128, 1))


def labelled(make: Any) -> Any:
    def rows() -> Iterator[Labelled]:
        rng = np.random.default_rng(0)
        return (Labelled(*make(rng)) for _ in range(600))

    return rows


IMAGES = replace(
    small.pipeline, name="images", features=Photo, encode=decode, model=cnn, history=labelled(photo),
    promotion=Promotion(every_days=1),
)  # fmt: skip
PRICES = replace(
    small.pipeline, name="prices", task=Regression(), features=Measured, encode=measures, live=None,
    history=labelled(house), promotion=Promotion(every_days=1),
    online=replace(small.pipeline.online, history_passes=60),
)  # fmt: skip
PETS = replace(
    PRICES, name="pets", task=Classes(("cat", "dog", "bird")), live=None, model=three,
    history=labelled(pet), online=replace(PRICES.online, history_batch=16),
    recipe=Recipe.parse("quantize(int8) -> distill"),
)  # fmt: skip
TAGS = replace(PETS, name="tags", task=MultiLabel(("big", "old", "never")), live=None, history=labelled(tagged))
CHOICES = replace(
    PETS, name="choices", task=Bandit(2, doubly_robust=True), model=four, features=small.Point, encode=small.encode,
    live=None, history=labelled(choice),
)  # fmt: skip

HIDDEN = replace(
    PRICES, name="hidden", live=None, online=replace(PRICES.online, private=Private(noise=1.0), intercept_rate=0)
)


def learned(roles: Sequence[Role], registry: Registry, count: int) -> bool:
    for role in roles:
        role.step(10)
    return commits.decode(registry.read(COMMITS, registry.last(COMMITS)) or b"").learned == count


@pytest.mark.parametrize(
    ("pipeline", "make"),
    [
        (IMAGES, photo),
        (PRICES, house),
        (PETS, pet),
        (TAGS, tagged),
        (CHOICES, choice),
        (text.PIPELINE, text.typed),
        (HIDDEN, house),
    ],
    ids=["images", "prices", "pets", "tags", "choices", "text", "hidden"],
)
def test_every_role_takes_bytes_and_labels_of_every_kind(
    pipeline: Pipeline, make: Any, broker: Running, store_server: Running, tmp_path: Path
) -> None:
    if broker.kind != store_server.kind:
        pytest.skip("embedded with embedded, real with real")
    pipeline = replace(pipeline, name=f"{pipeline.name}-{broker.kind}")
    registry, rng, n = open_registry(tmp_path), np.random.default_rng(1), 2 * DAYS * 24
    assert bootstrap(pipeline, registry)
    topics = config.Topics().named(pipeline.name)
    ensure_topics(broker.address, dict.fromkeys((topics.requests, topics.predictions, topics.outcomes, topics.dead), 1))
    settings = config.Settings(
        kafka=config.Kafka(bootstrap=broker.address), redis=config.Redis(url=store_server.address),
        serve=config.Serve(engines=False), join=JoinPolicy(idle_s=1e6),  # however slowly the server answers
    )  # fmt: skip
    plan = Plan(pipeline=Path(), settings=settings, registry=registry.folder, fetch_wait_ms=10)
    asked = [make(rng) for _ in range(n)]
    with ExitStack() as stack:
        store = stack.enter_context(closing(Store(store_server.address)))
        store.create(pipeline.name, 1, [(topics.predictions, 0), (topics.outcomes, 0)])
        sink = stack.enter_context(closing(Sink(broker.address)))
        roles = [build(name, plan, pipeline, stack) for name in ("server", f"{JOINER_PREFIX}0", "learner")]
        for part in range(0, n, DAYS * 24):
            for i, (features, label) in list(enumerate(asked))[part : part + DAYS * 24]:
                key, t_ms = b"id-%d" % i, small.START_MS + i * small.HOUR_MS
                sink.send(Tp(topics.requests, 0), key=key, value=msgspec.json.encode(features), t_ms=t_ms)
                outcome = msgspec.json.encode({"label": label})
                sink.send(Tp(topics.outcomes, 0), key=key, value=outcome, t_ms=t_ms + small.HOUR_MS)
            sink.flush()
            until(partial(learned, roles, registry, part + DAYS * 24))
        made = [build(name, plan, pipeline, stack) for name in ("distiller", "evaluator", "conductor")]
        for role in made:
            while role.step(1):
                pass
    with closing(Source(broker.address, [Tp(topics.predictions, 0)], fetch_wait_ms=10)) as source:
        answers: list[Record] = list(records(source))
    assert [msgspec.json.decode(a.value or b"", type=Prediction).id for a in answers] == [f"id-{i}" for i in range(n)]
    written = commits.decode(registry.read(COMMITS, 1) or b"").read()[0].prediction
    assert msgspec.json.decode(bytes(written.features), type=pipeline.features) == asked[0][0]
    rebuilt = check_rebuild(make_learner(pipeline, registry), registry)
    assert (rebuilt.learned > 0, rebuilt.rebuilt) == (True, rebuilt.kept)
    candidate = registry.record(CANDIDATES, 0)
    assert candidate is not None
    assert candidate.refused is None
    assert math.isfinite(candidate.figures.loss or math.nan)
    if pipeline.online.private:
        assert candidate.privacy == Privacy(epsilon=pipeline.online.private.epsilon(), delta=1e-5)
    if make is house:
        served = [msgspec.json.decode(a.value or b"")["value"] for a in answers]
        errors = [abs(value - label) for value, (_, label) in zip(served, asked, strict=True)]
        assert np.mean(errors) < 0.5 * UNIT
        assert (candidate.figures.loss or math.nan) < (0.5 if pipeline.online.private else 0.2)  # noise is of chance
    if make is pet:
        named = [msgspec.json.decode(a.value or b"")["class"] for a in answers]
        assert np.mean([name == label for name, (_, label) in zip(named, asked, strict=True)]) > 0.8
    if make is tagged:
        named = [msgspec.json.decode(a.value or b"")["classes"] for a in answers]
        assert np.mean([names == label for names, (_, label) in zip(named, asked, strict=True)]) > 0.8
    if make is text.typed:
        assert {len(msgspec.json.decode(a.value or b"")["tokens"]) for a in answers} == {1}
    if isinstance(pipeline.live, Live):  # two tables of three classes, of three yes or no, one of a number
        last = msgspec.json.decode(answers[-1].value or b"", type=Prediction)
        assert len([said for said in last.experts if said is not None]) == (1 if make is house else 6)
        assert max(abs(a - b) for a, b in zip(last.served, last.bare, strict=True)) > 1e-3
    if make is choice:
        odds = [msgspec.json.decode(a.value or b"")["probabilities"][1] > 0.5 for a in answers]
        assert np.mean([odd == (features.x[0] > 0) for odd, (features, _) in zip(odds, asked, strict=True)]) > 0.8
