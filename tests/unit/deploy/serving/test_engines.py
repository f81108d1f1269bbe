"""Engines in serving: torch until a measurement is over, one version at a time, and no failure that harms."""

import logging

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from compressors.engines.fastest import Fastest
from deploy.serving.engines import LEAST_ROWS, Engines, sizes
from learners.online.batches import Inputs


class Version(nn.Module):
    """Answers with its number; its engine with half more."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def forward(self, x: Tensor) -> Tensor:
        return torch.full((len(x), 1), float(self.number))


class Measured:
    """A measurement that ends when the test says so."""

    def __init__(self, artifact: str, rows: int) -> None:
        self.artifact, self.rows = artifact, rows
        self.over, self.dropped, self.fails = False, 0, False
        self.refused: dict[str, str] = {}
        self.breaks, self.breaks_seen = False, 0

    def ended(self) -> bool:
        return self.over

    def drop(self) -> None:
        self.dropped += 1

    def found(self, model: nn.Module) -> Fastest:
        if self.fails:
            raise OSError("no space left")
        number = int(self.artifact)

        def run(x: Tensor) -> Tensor:
            if self.breaks:
                self.breaks_seen += 1
                raise RuntimeError("another width")
            return torch.full((len(x), 1), number + 0.5)

        return Fastest(
            chosen={1: "torch", 8: "quick", 64: "quick"},
            timings=(),
            refused=self.refused,
            runs={"torch": model, "quick": run},
        )


class World:
    """Engines and every measurement that they began."""

    def __init__(self) -> None:
        self.began: list[Measured] = []
        self.engines = Engines(self._measure)
        self.serve(0)

    def serve(self, version: int) -> None:
        self.version = version
        self.engines.serve(version, str(version), Version(version))

    def answer(self, rows: int = LEAST_ROWS) -> float:
        out = self.engines.answer((torch.zeros(rows, 1),))
        assert out.shape == (rows, 1)
        return float(out[0, 0])

    def take_over(self) -> Measured:
        self.answer()
        assert self.engines.step()
        self.began[-1].over = True
        assert self.engines.step()
        return self.began[-1]

    def _measure(self, artifact: str, inputs: Inputs) -> Measured:
        self.began.append(Measured(artifact, len(inputs[0])))
        return self.began[-1]


def test_torch_answers_until_the_measurement_is_over_then_the_engine_by_size() -> None:
    world = World()
    assert world.answer() == 0
    assert world.engines.step()
    assert "being measured" in world.engines.told[0]
    assert not world.engines.step()
    assert world.answer() == 0
    world.began[0].over = True
    assert world.engines.step()
    assert (world.answer(rows=1), world.answer(rows=8)) == (0, 0.5)
    assert world.engines.told == ("v0, by rows: torch for 1; quick for 8, 64",)
    assert not world.engines.step()
    assert len(world.began) == 1
    assert world.began[0].dropped == 1


def test_rows_are_gathered_until_they_prove_something() -> None:
    world = World()
    for _ in range(LEAST_ROWS - 1):
        world.answer(rows=1)
        assert not world.engines.step()
    world.answer(rows=3)
    assert world.engines.step()
    assert [m.rows for m in world.began] == [LEAST_ROWS + 2]


def test_a_newer_version_drops_what_is_measured_of_the_old_one() -> None:
    world = World()
    world.answer()
    world.engines.step()
    world.serve(1)
    old = world.began[0]
    assert old.dropped == 1
    old.over = True  # it comes too late
    assert not world.engines.step()
    assert world.answer() == 1
    world.engines.step()
    world.began[1].over = True
    world.engines.step()
    assert world.answer() == 1.5
    assert [m.artifact for m in world.began] == ["0", "1"]


def test_a_newer_version_is_served_by_torch_at_once() -> None:
    world = World()
    world.take_over()
    world.serve(1)
    assert world.answer() == 1


@pytest.mark.parametrize("where", ["begin", "widths", "found", "run"])
def test_a_failure_is_told_and_torch_goes_on(where: str, caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    if where == "begin":
        world.engines = Engines(lambda *_: fail())
        world.serve(0)
    if where == "widths":
        world.engines.answer((torch.zeros(LEAST_ROWS - 1, 2),))
    if where == "run":
        world.take_over().breaks = True
    else:
        world.answer()
        world.engines.step()
    if where == "found":
        world.began[0].fails = world.began[0].over = True
        assert world.engines.step()
    assert [world.answer() for _ in range(2)] == [0, 0]
    assert not world.engines.step()
    assert len(world.engines.told) == 1
    assert "v0 by torch, its engines failed" in world.engines.told[0]
    assert sum("engines failed" in m for m in caplog.messages) == 1
    assert all(m.dropped == 1 for m in world.began)
    assert [m.breaks_seen for m in world.began if m.breaks] == [1] * (where == "run")


def fail() -> Measured:
    raise BlockingIOError("no more processes")


def test_a_mistake_in_the_request_is_the_models_to_tell() -> None:
    world = World()
    with pytest.raises(TypeError):
        world.engines.answer(())


def test_refusals_are_logged_once_and_shown_by_engine(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    refused = {"a at 1 rows": "differs", "a at 8 rows": "differs\nmore", "b": "not installed: onnx"}
    with caplog.at_level(logging.WARNING):
        for version in (0, 1):
            world.serve(version)
            world.answer()
            world.engines.step()
            world.began[-1].refused, world.began[-1].over = refused, True
            world.engines.step()
    assert world.engines.told[1:] == ("refused: a at 8 rows: differs", "refused: b: not installed: onnx")
    assert sum("not installed: onnx" in m for m in caplog.messages) == 1
    assert sum("by rows" in m for m in caplog.messages) == 2


@given(st.integers(1, 2_000))
def test_sizes_end_at_the_configured_batch(most: int) -> None:
    found = sizes(most)
    assert found[-1] == min(most, 512)
    assert list(found) == sorted(set(found))
    assert {n for n in (1, 8, 64, 512) if n <= most} <= set(found)


STEPS = st.lists(st.sampled_from(["serve", "ask", "step", "end", "fail", "break"]), max_size=40)


@given(STEPS)
def test_whatever_happens_the_version_answers_and_one_measurement_lives(steps: list[str]) -> None:
    world = World()
    for step in steps:
        if step == "serve":
            world.serve(world.version + 1)
        elif step == "step":
            world.engines.step()
        elif step in ("end", "fail", "break"):
            for measured in world.began:
                measured.over = True
                measured.fails |= step == "fail"
                measured.breaks |= step == "break"
        assert world.answer() in (world.version, world.version + 0.5)
        assert world.engines.told[0].startswith(f"v{world.version}")
        living = [m for m in world.began if not m.dropped]
        assert all(m.artifact == str(world.version) for m in living)
        assert len(living) <= 1
    world.engines.close()
    assert all(m.dropped == 1 for m in world.began)
