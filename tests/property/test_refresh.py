"""Mask refresh over all shapes: as sparse after as before, nothing large dropped, nothing flat grown."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from compressors.refresh import swap

torch.set_num_threads(1)  # tensors too small to share among threads, which would only wait for each other


@st.composite
def layer(draw: st.DrawFn) -> tuple[Tensor, Tensor, Tensor]:
    """Weight, mask and slope of one shape; of few different values, so that many are equal."""
    rows, columns = draw(st.integers(1, 6)), draw(st.integers(1, 6))
    few = st.lists(st.sampled_from([-2.0, -1.0, -0.5, 0.0, 0.5, 1.0]), min_size=rows * columns, max_size=rows * columns)
    ones = st.lists(st.sampled_from([0.0, 1.0]), min_size=rows * columns, max_size=rows * columns)
    weight, mask, slope = (torch.tensor(draw(values)).view(rows, columns) for values in (few, ones, few))
    return weight, mask, slope


@settings(max_examples=100, deadline=None)
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
    assert not len(flat) or not grown.any() or slope.abs()[grown].min() >= flat.max()
    assert stayed.sum() + grown.sum() == mask.sum()
