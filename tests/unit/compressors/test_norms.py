"""Norms on any number of rows: a single value is normalized by the running statistics, and moves them rightly."""

import copy

import pytest
import torch
from torch import Tensor, nn

from compressors.norms import any_rows


def statistics(norm: nn.Module) -> tuple[Tensor, Tensor]:
    return norm.get_buffer("running_mean"), norm.get_buffer("running_var")


def moved(norm: nn.Module, parts: list[Tensor], share: float = 1.0) -> tuple[Tensor, Tensor]:
    norm = copy.deepcopy(norm).train()
    momentum = norm.momentum
    with any_rows(norm, share):
        for part in parts:
            assert norm(part).isfinite().all()
    assert norm.training
    assert not norm._forward_pre_hooks
    assert not norm._forward_hooks
    assert norm.momentum == momentum
    return statistics(norm)


@pytest.mark.parametrize(
    ("norm", "shape"),
    [(nn.BatchNorm1d(3), (3,)), (nn.BatchNorm1d(3), (3, 1)), (nn.BatchNorm2d(3), (3, 1, 1)),
     (nn.InstanceNorm1d(3, track_running_stats=True), (3, 1)),
     (nn.InstanceNorm2d(3, track_running_stats=True), (3, 1, 1))],
)  # fmt: skip
def test_one_value_is_normalized_by_the_running_statistics_and_moves_them(
    norm: nn.Module, shape: tuple[int, ...]
) -> None:
    x = torch.full((1, *shape), 2.0)
    mean, var = moved(norm, [x])
    assert torch.allclose(mean, torch.tensor(0.2))
    assert torch.allclose(var, torch.tensor(0.9 * (1 + 0.1 * 4)))


def test_rows_one_by_one_measure_what_batches_measure() -> None:
    torch.manual_seed(0)
    x = 3 * torch.randn(20_000, 4) + 5
    for parts in (list(torch.split(x, 1))[:8_000], list(torch.split(x, 64))):
        mean, var = moved(nn.BatchNorm1d(4), parts, share=len(parts[0]) / 64)
        assert torch.allclose(mean, torch.tensor(5.0), atol=0.4)
        assert torch.allclose(var, torch.tensor(9.0), atol=1.2)


def test_without_a_momentum_every_batch_counts_alike() -> None:
    mean, _ = moved(nn.BatchNorm1d(1, momentum=None), [torch.full((1, 1), v) for v in (1.0, 2.0, 6.0)])
    assert torch.allclose(mean, torch.tensor(3.0))


def test_two_values_are_normalized_as_torch_does() -> None:
    x = torch.randn(2, 3)
    plain, ours = nn.BatchNorm1d(3), nn.BatchNorm1d(3)
    with any_rows(ours):
        assert torch.equal(plain(x), ours(x))
    assert torch.equal(statistics(plain)[1], statistics(ours)[1])


def test_a_frozen_norm_stays_as_it_is() -> None:
    norm = nn.BatchNorm1d(3).requires_grad_(False)
    with any_rows(norm):
        assert torch.equal(norm(x := torch.randn(8, 3)), copy.deepcopy(norm).eval()(x))
    assert not statistics(norm)[0].any()
    assert norm.training


def test_the_norm_trains_again_after_an_error() -> None:
    norm = nn.BatchNorm1d(3)
    with any_rows(norm), pytest.raises(ValueError, match="expected"):
        norm(torch.randn(1, 3, 1, 1))
    assert norm.training
