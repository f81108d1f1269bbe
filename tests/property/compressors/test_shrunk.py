"""A learner that lost units, with any batches and restored at any time: its bits and shapes follow from its samples."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from compressors.carry_out import carry_out
from compressors.data import Data
from compressors.recipe import Recipe
from learners.commits.state import pack_state, unpack_state
from learners.online.batches import Encoder
from learners.online.learner import Learner
from tests import small

torch.set_num_threads(1)
ROWS = Data((torch.randn(40, 4, generator=torch.Generator().manual_seed(0)),), torch.arange(40) % 2.0)
RESTS = ("distill(passes=1)", "prune(amount=0.6, scope=layer) -> quantize(int8)", "quantize(int8, inputs=static)")


class Deep(nn.Module):
    """A net with a norm, a residual sum and dropout between its units, and buffers that lose units too."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.second = nn.Linear(4, 12), nn.BatchNorm1d(12), nn.Linear(12, 12)
        self.drop, self.last = nn.Dropout(0.2), nn.Linear(12, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.first(x))
        out: Tensor = self.last(self.drop(x + torch.relu(self.second(x))))
        return out


def fresh(model: Callable[[], nn.Module], recipe: Recipe, every: int) -> Learner:
    online = replace(small.pipeline.online, refresh_every=every, refresh_share=0.4)
    return Learner(model, small.pipeline.task, Encoder(small.Point, small.encode), recipe, online, 0)


def begun(model: Callable[[], nn.Module], recipe: Recipe, every: int) -> Learner:
    """Make a learner as for a first version."""
    made = fresh(model, recipe, every)
    made.teacher.settle()
    made.shrink(ROWS)
    task, teacher = small.pipeline.task, made.teacher.mean
    carry_out(made.shadow.model, recipe.split()[1], ROWS, task, teacher=teacher, seed=0)
    made.shadow.settle()
    return made


@pytest.mark.parametrize("model", [small.net, Deep])
@settings(max_examples=20)
@given(
    amount=st.sampled_from([0.25, 0.5, 0.9]),
    rest=st.sampled_from(RESTS),
    sizes=st.lists(st.integers(2, 40), min_size=3, max_size=6),
    put_back=st.sets(st.integers(0, 5)),
)
def test_a_learner_put_back_anywhere_is_as_one_that_never_stopped(
    model: Callable[[], nn.Module], amount: float, rest: str, sizes: list[int], put_back: set[int]
) -> None:
    recipe = Recipe.parse(f"prune_structured(amount={amount}) -> {rest}")
    every = sum(sizes) // 2 if "prune(" in rest else 0
    steady, stopped = begun(model, recipe, every), begun(model, recipe, every)
    first, log, start = shapes(steady), small.samples(sum(sizes)), 0
    for n, size in enumerate(sizes):
        if n in put_back:
            state = unpack_state(pack_state(stopped.state()))
            stopped = fresh(model, recipe, every)
            stopped.load(state)
        batch = log[start : start + size]
        assert torch.equal(steady.learn(batch), stopped.learn(batch))
        start += size
    assert pack_state(steady.state()) == pack_state(stopped.state())
    assert shapes(steady) == shapes(stopped)
    assert first.items() <= shapes(steady).items()  # the optimizer's come with the first batch
    ours, whole = (sum(p.numel() for p in m.parameters()) for m in (steady.shadow.model, steady.teacher.model))
    assert ours < whole


def shapes(learner: Learner) -> dict[str, torch.Size]:
    return {name: t.shape for name, t in learner.state().items() if name.startswith("shadow.")}
