"""Engines: all answer as the model does, rows alone, and the measured choice among them is honest."""

import math
from collections.abc import Callable, Sequence
from functools import cache

import pytest
import torch
from torch import Tensor, nn

from compressors.artifact.parity import parity
from compressors.engines.engine import ENGINES, Engine, Run
from compressors.engines.fastest import Fastest, fastest
from tests.serving import Mixed, encoder, mixed_rows, served, token_rows

Rows = Callable[[int], tuple[Tensor, ...]]


def model(make: Callable[[], nn.Module] = Mixed) -> nn.Module:
    torch.manual_seed(3)
    return served(make())


@cache
def prepared(name: str, make: Callable[[], nn.Module], rows: Rows) -> tuple[nn.Module, Run]:
    (engine,) = (one for one in ENGINES if one.name == name)
    if engine.missing():
        pytest.skip(str(engine.missing()))
    ours = model(make)
    return ours, engine.prepare(ours, rows(4))


SAME = pytest.mark.parametrize("name", ["onnxruntime", "onnxruntime-nbits"])


@pytest.mark.parametrize(
    ("name", "make", "rows"),
    [
        pytest.param("onnxruntime", Mixed, mixed_rows, id="mixed-onnxruntime"),
        pytest.param("onnxruntime-nbits", Mixed, mixed_rows, id="mixed-onnxruntime-nbits"),
        pytest.param("onnxruntime", encoder, token_rows, id="encoder-onnxruntime"),
        pytest.param("onnxruntime-nbits", encoder, token_rows, id="encoder-onnxruntime-nbits", marks=pytest.mark.long),
    ],
)
def test_whole_number_engines_answer_as_the_model_does(name: str, make: Callable[[], nn.Module], rows: Rows) -> None:
    ours, run = prepared(name, make, rows)
    for n in (1, 7, 200):
        assert parity(ours, run, rows(n)).refusal() is None


@pytest.mark.parametrize("name", [one.name for one in ENGINES])
def test_answers_are_near_and_the_model_stays(name: str) -> None:
    """A float input, or a range of its own kind, moves an answer by less than an int8 step of each layer may."""
    ours, run = prepared(name, Mixed, mixed_rows)
    before = ours(*mixed_rows(60))
    inputs = mixed_rows(60)
    torch.testing.assert_close(run(*inputs), before, rtol=0, atol=0.05)
    assert torch.equal(ours(*inputs), before)


@pytest.mark.parametrize("name", [one.name for one in ENGINES])
def test_rows_do_not_see_each_other(name: str) -> None:
    _, run = prepared(name, Mixed, mixed_rows)
    inputs = mixed_rows(6)
    together = run(*inputs)
    inputs[1][0] *= 1e6
    inputs[1][3, 2] = math.nan
    out = run(*inputs)
    rest = [1, 2, 4, 5]
    torch.testing.assert_close(out[rest], together[rest])
    assert not out[3].isfinite().any()


class Wrapped(nn.Module):
    """A function as a module."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.run = run

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.run(*inputs)


# ── The choice ──────────────────────────────────────────────────────────────────────────────────────────────────────


class Clock:
    """A clock that moves only when an engine works."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def fake(name: str, clock: Clock, cost: Callable[[int], float], spoil: float = 0.0) -> Engine:
    inner = model()

    def prepare(_: nn.Module, inputs: Sequence[Tensor]) -> Run:
        def run(*rows: Tensor) -> Tensor:
            clock.now += cost(len(rows[0]))
            out: Tensor = inner(*rows) + spoil
            return out

        return run

    return Engine(name=name, prepare=prepare)


def choice(clock: Clock, *engines: Engine) -> Fastest:
    """Choose among engines and a model that takes 100 s a call."""
    slow = Wrapped(fake("slow", clock, lambda n: 100).prepare(model(), ()))
    return fastest(slow, mixed_rows(20), (8, 1), engines=engines, seconds=1, clock=clock)


def test_the_fastest_of_each_size_runs_that_size_and_those_below() -> None:
    clock = Clock()
    found = choice(clock, fake("small", clock, lambda n: n), fake("large", clock, lambda n: 3))
    assert dict(found.chosen) == {1: "small", 8: "large"}
    assert {(t.engine, t.rows): t.us for t in found.timings}["large", 8] == pytest.approx(3e6)
    for n, cost in ((1, 1), (2, 3), (8, 3), (9, 3)):
        before = clock.now
        found(*mixed_rows(n))
        assert clock.now - before == cost


def test_an_engine_that_answers_otherwise_is_refused_with_the_reason() -> None:
    clock = Clock()
    found = choice(clock, fake("wrong", clock, lambda n: 1, spoil=1))
    assert dict(found.chosen) == {1: "torch", 8: "torch"}
    assert set(found.refused) == {"wrong at 1 rows", "wrong at 8 rows"}
    assert "disagree" in found.refused["wrong at 8 rows"]


def test_what_is_missing_or_breaks_is_passed_over_and_told() -> None:
    def breaks(model: nn.Module, inputs: Sequence[Tensor]) -> Run:
        raise RuntimeError("no such operator")

    missing = Engine(name="missing", prepare=breaks, packages=("no_such_package",))
    found = fastest(model(), mixed_rows(4), (1,), engines=[missing, Engine(name="broken", prepare=breaks)], seconds=0)
    assert dict(found.chosen) == {1: "torch"}
    assert found.refused == {
        "missing": "not installed: no_such_package",
        "broken": "not for this model or machine: no such operator",
    }


def test_a_model_without_int8_layers_has_nothing_to_exchange() -> None:
    plain = nn.Sequential(nn.Linear(5, 3)).eval()
    found = fastest(plain, (torch.randn(4, 5),), (1,), seconds=0)
    assert set(found.runs) <= {"torch", "onnxruntime"}
    assert "no int8 layer" in found.refused["bfloat16"]


@pytest.mark.parametrize(("rows", "samples"), [((), 4), ((0,), 4), ((1,), 0)])
def test_sizes_and_samples_are_needed(rows: tuple[int, ...], samples: int) -> None:
    with pytest.raises(ValueError, match="needs sample rows"):
        fastest(model(), mixed_rows(samples), rows)
