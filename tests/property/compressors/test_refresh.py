"""Mask refresh over all shapes: as sparse after as before, nothing large dropped, nothing flat grown; and in a learner
that is cut anyhow and put back at any time: a function of its history.
"""

from dataclasses import replace

import pytest
import torch
from hypothesis import event, given, settings
from hypothesis import strategies as st
from torch import Tensor

from compressors.form import weights
from compressors.pruning.prune import neighbours, prune, sparsity
from compressors.pruning.refresh import swap
from compressors.recipe import Prune, Quantize, Recipe
from learners.commits.state import pack_state, unpack_state
from learners.online.batches import Encoder
from learners.online.learner import Learner
from tests import small

torch.set_num_threads(1)  # tensors too small to share among threads, which would only wait for each other


@st.composite
def layer(draw: st.DrawFn) -> tuple[Tensor, Tensor, Tensor]:
    """Weight, mask and slope of one shape; of few different values, so that many are equal."""
    rows, columns = draw(st.integers(1, 6)), draw(st.integers(1, 6))
    few = st.lists(st.sampled_from([-2.0, -1.0, -0.5, 0.0, 0.5, 1.0]), min_size=rows * columns, max_size=rows * columns)
    ones = st.lists(st.sampled_from([0.0, 1.0]), min_size=rows * columns, max_size=rows * columns)
    weight, mask, slope = (torch.tensor(draw(values)).view(rows, columns) for values in (few, ones, few))
    return weight, mask, slope


@settings(max_examples=100)
@given(layer(), st.floats(0, 1))
def test_a_swap_keeps_the_sparsity_and_what_is_large(given_layer: tuple[Tensor, Tensor, Tensor], share: float) -> None:
    weight, mask, slope = given_layer
    after, new = swap(weight, mask, slope, share)
    again = swap(weight, mask, slope, share)
    assert torch.equal(after, again.mask)
    assert torch.equal(new, again.weight)
    assert after.sum() == mask.sum()
    dropped, grown, stayed = (mask > after), (after > mask), (after * mask) != 0
    number = round(share * int(mask.sum()))
    assert int(grown.sum()) == int(dropped.sum()) <= number
    assert not new[grown].any()
    assert torch.equal(new[~grown], weight[~grown])
    kept_sizes = weight.abs()[mask != 0].sort().values
    assert bool((weight.abs()[dropped] <= kept_sizes[:number].max()).all()) if number else not dropped.any()
    flat = slope.abs()[(after == 0)]
    assert slope[grown].all()
    assert not len(flat) or not grown.any() or slope.abs()[grown].min() >= flat.max()
    assert stayed.sum() + grown.sum() == mask.sum()


@settings(max_examples=100)
@given(layer(), st.floats(0, 1), st.integers(1, 7))
def test_a_swap_among_neighbours_keeps_their_numbers(
    given_layer: tuple[Tensor, Tensor, Tensor], share: float, of: int
) -> None:
    weight, mask, slope = given_layer
    after, new = swap(weight, mask, slope, share, of)
    assert torch.equal(neighbours(after, of, 0).sum(1), neighbours(mask, of, 0).sum(1))
    grown, dropped = after > mask, mask > after
    assert torch.equal(new, weight.masked_fill(grown, 0))
    if not share:
        assert not dropped.any()


BATCH = 10
AMOUNT, PATTERN = Prune(amount=0.6, scope="layer"), Prune(pattern="1:2")


def learner(step: Prune, every: int) -> Learner:
    """Make a learner whose shadow is pruned."""
    online = replace(small.pipeline.online, refresh_every=every, refresh_share=0.4, batch=BATCH, batch_s=1e9)
    made = Learner(
        small.net, small.pipeline.task, Encoder(small.Point, small.encode), Recipe(step, Quantize()), online, 0
    )
    prune(made.shadow.model, step)
    made.shadow.settle()
    return made


@pytest.mark.parametrize("step", [AMOUNT, PATTERN])
@settings(max_examples=20)
@given(sizes=st.lists(st.integers(1, 40), min_size=8, max_size=12), put_back=st.sets(st.integers(0, 7)))
def test_a_learner_put_back_anywhere_refreshes_as_one_that_never_stopped(
    step: Prune, sizes: list[int], put_back: set[int]
) -> None:
    every = sum(sizes) // 3
    steady, stopped = learner(step, every), learner(step, every)
    first, log, start = sparsity(steady.shadow.model), small.samples(sum(sizes)), 0
    for n, size in enumerate(sizes):
        if n in put_back:
            state = pack_state(stopped.state())
            stopped = learner(step, every)
            stopped.load(unpack_state(state))
        batch, before = log[start : start + size], masks(steady)
        assert torch.equal(steady.learn(batch), stopped.learn(batch))
        changed = any(not torch.equal(mask, before[name]) for name, mask in masks(steady).items())
        began, ended = (n - n % BATCH for n in (start, start + size))  # masks are refreshed where a batch ends
        assert not changed or ended // every > began // every
        event(f"changed: {changed}")
        start += size
    assert pack_state(steady.state()) == pack_state(stopped.state())
    assert sparsity(steady.shadow.model) == sparsity(steady.shadow.mean) == first
    prune(steady.shadow.mean, step)  # as when a candidate is made of it: its masks are what the step asks
    for name, weight in weights(steady.shadow.mean).items():
        assert torch.equal(weight.mask, masks(steady)[name])
        if step is PATTERN:
            assert (neighbours(weight.mask, 2, 0).sum(1) == 1).all()


def masks(of: Learner) -> dict[str, Tensor]:
    return {name: weight.mask.clone() for name, weight in weights(of.shadow.model).items()}
