"""Guard rails of what serves: a version that is broken is found without an outcome, one that is not is left alone."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np
import pytest
import torch
from torch import nn

from compressors.artifact import format as artifact
from deploy.learning.bootstrap import bootstrap
from deploy.learning.candidates import make_learner
from deploy.registry.kinds import CHAMPIONS
from deploy.registry.notes import BrokenNote
from deploy.registry.records import Champion
from deploy.registry.registry import Registry
from deploy.serving.answering import Asked
from deploy.serving.champion import Served, Serving
from deploy.serving.guarded import EVERY_S, LEAST, Guarded
from learners.evaluation.gate import Promotion
from learners.evaluation.guards.guard import GuardRails
from streams.events import Record, Request
from tests import small

PIPELINE = replace(small.pipeline, history=None)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    registry = Registry(tmp_path_factory.mktemp("registry"))
    assert bootstrap(PIPELINE, registry)
    return registry


@pytest.fixture
def registry(made: Registry, tmp_path: Path) -> Registry:
    """A registry of its own that holds version 0."""
    own, first = Registry(tmp_path), made.record(CHAMPIONS, 0)
    assert first is not None
    own.put(made.get(first.artifact))
    own.create(CHAMPIONS, 0, first)
    return own


class Clock:
    """Seconds that pass as they are told to."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def promote(registry: Registry, change: Callable[[nn.Module], None], **more: Any) -> Champion:
    """Have a changed model serve as the next version."""
    model = make_learner(PIPELINE).shadow.student().eval()
    with torch.no_grad():
        change(model)
    first, number = registry.record(CHAMPIONS, 0), registry.last(CHAMPIONS) + 1
    assert first is not None
    digest = registry.put(artifact.pack(model, {}))
    now = msgspec.structs.replace(first, number=number, artifact=digest, engine=None, **more)
    assert registry.create(CHAMPIONS, number, now)
    return now


def zeroed(model: nn.Module) -> None:
    for weights in model.parameters():
        weights.zero_()


def overflowing(model: nn.Module) -> None:
    for weights in model.parameters():
        weights.fill_(3e30)


def unchanged(model: nn.Module) -> None:
    pass


def asked(count: int, seed: int = 0, point: small.Point | None = None) -> Iterator[Asked]:
    rng = np.random.default_rng(seed)
    for n in range(count):
        row = point or small.point(rng)[0]
        yield Asked(cast(Record, None), Request(str(n), n, msgspec.json.encode(row)), row, ())


def looks(
    served: Served, count: int = 3, rails: GuardRails | None = None, point: Callable[[int], Any] = lambda _: None
) -> list[BrokenNote | None]:
    """Return what each of some looks finds."""
    clock, found = Clock(), list[BrokenNote | None]()
    pipeline = replace(PIPELINE, promotion=Promotion(rails=rails or GuardRails()))
    guarded = Guarded(pipeline, served, clock)
    for n in range(count):
        assert guarded.take(list(asked(LEAST, n, point(n)))) is None  # a look begins
        served.beside(int).result()  # and is over
        found.append(guarded.take(()))
        clock.now_s += EVERY_S + 1_000  # whatever the look has taken
    return found


@pytest.mark.parametrize(("change", "guard"), [(zeroed, "constant"), (overflowing, "finite")])
def test_a_broken_version_is_found_by_two_looks(change: Any, guard: str, registry: Registry) -> None:
    now = promote(registry, change)
    first, *others = looks(Served(registry, small.net, engines=False))
    assert first is None  # once is not sure
    for found in others:
        assert found is not None
        assert (found.version, found.artifact, found.before, found.guard.name) == (1, now.artifact, 0, guard)


def test_a_version_that_is_well_is_left_alone_and_so_is_the_first_one(registry: Registry) -> None:
    assert looks(Served(registry, small.net, engines=False)) == [None] * 3
    promote(registry, unchanged)
    assert looks(Served(registry, small.net, engines=False)) == [None] * 3


def test_requests_that_are_all_alike_make_no_version_constant(registry: Registry) -> None:
    """The first ones were not; these are, but for a number that the version which serves has no use for."""

    def unmoved(model: nn.Module) -> None:
        next(model.parameters())[:, 3] = 0

    promote(registry, unmoved)
    served, rng = Served(registry, small.net, engines=False), np.random.default_rng(0)
    points = [None] + [small.Point((1.0, 1.0, 1.0, float(rng.normal()))) for _ in range(7)]
    assert looks(served, 8, point=lambda n: points[n]) == [None] * 8


def test_a_version_that_has_become_slow_is_found(registry: Registry) -> None:
    promote(registry, unchanged)
    served = Served(registry, small.net, engines=False)

    class Slow(type(served.champion.running)):  # type: ignore[misc]
        def __call__(self, *inputs: torch.Tensor) -> torch.Tensor:
            time.sleep(0.05)
            return cast(torch.Tensor, super().__call__(*inputs))

    slow = Slow(served.champion.running.model, None, "torch")
    served._serving = Serving(served.champion._replace(running=slow))
    found = looks(served, 2)[-1]
    assert found is not None
    assert found.guard.name == "latency"


def test_how_far_answers_may_move_is_a_limit_that_a_user_sets(registry: Registry) -> None:
    def contrary(model: nn.Module) -> None:
        for weights in list(model.parameters())[-2:]:
            weights.neg_()

    promote(registry, contrary)
    served = Served(registry, small.net, engines=False)
    assert looks(served)[-1] is None
    found = looks(served, rails=GuardRails(change=0.2))[-1]
    assert found is not None
    assert found.guard.name == "change"


def test_a_version_that_a_rollback_has_left_is_not_what_comes_back(registry: Registry) -> None:
    promote(registry, overflowing)
    first = registry.record(CHAMPIONS, 0)
    assert first is not None
    registry.create(CHAMPIONS, 2, msgspec.structs.replace(first, number=2, back_to=0))
    now = promote(registry, zeroed)
    found = looks(Served(registry, small.net, engines=False))[-1]
    assert found is not None
    assert (found.version, found.artifact, found.before) == (3, now.artifact, 2)


def test_the_version_that_a_swap_has_left_is_not_loaded_again(registry: Registry) -> None:
    served = Served(registry, small.net, engines=False)
    first = served.champion
    promote(registry, unchanged)
    while not served.refresh():
        served.beside(int).result()
    before = served.load_before()
    assert served.newest == 1
    assert before is not None
    assert before.running is first.running


def test_a_canary_is_not_looked_at_here(registry: Registry) -> None:
    promote(registry, zeroed, share=0.5)
    served = Served(registry, small.net, engines=False)
    guarded = Guarded(PIPELINE, served, Clock())
    guarded.take(list(asked(LEAST)))
    assert guarded._looking is None
