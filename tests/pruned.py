"""Models whose units are removed: the removal, with checks for every model, and a net to remove from."""

import json
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from compressors.pruning.shapes import reshape, shapes
from compressors.pruning.structured import Report, prune_structured
from compressors.recipe import PruneStructured

torch.set_num_threads(1)  # these nets are too small to share among threads, which would only wait for each other
HALF = PruneStructured(amount=0.5)
Inputs = tuple[Tensor, ...]


def seeded(make: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(7)
    return make()


def answer(model: nn.Module, inputs: Inputs) -> Any:
    with torch.no_grad():
        return model.eval()(*inputs)


def pruned(make: Callable[[], nn.Module], inputs: Inputs, step: PruneStructured = HALF) -> tuple[nn.Module, Report]:
    """Prune, and check what holds for every model."""
    model, before = seeded(make), seeded(make)
    modes, random = [m.training for m in model.modules()], torch.get_rng_state()
    report = prune_structured(model, step, inputs)
    assert [m.training for m in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), random)
    assert report.parameters_before == sum(p.numel() for p in before.parameters())
    assert report.parameters_after == sum(p.numel() for p in model.parameters())
    assert (report.parameters_after < report.parameters_before) == bool(report.layers)
    assert all(1 <= cut.after < cut.before for cut in report.layers)
    assert not {cut.layer for cut in report.layers} & set(report.left)
    was, now = logits(answer(before, inputs)), logits(answer(model, inputs))
    assert now.shape == was.shape
    assert now.isfinite().all()
    again = seeded(make)
    assert prune_structured(again, step, inputs) == report
    assert all(map(torch.equal, again.state_dict().values(), model.state_dict().values()))
    record = json.loads(json.dumps(shapes(before, model)))
    assert bool(record) == bool(report.layers)
    torch.manual_seed(8)
    fresh = make()
    reshape(fresh, record)
    fresh.load_state_dict(model.state_dict())
    assert torch.equal(logits(answer(fresh, inputs)), now)
    return model, report


def logits(out: Any) -> Tensor:
    tensor: Tensor = out if isinstance(out, Tensor) else next(iter(out.values()))
    return tensor


class Tabular(nn.Module):
    """The flights example's shape of model, with names in an embedding and a LayerNorm."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(20, 4)
        self.layers = nn.Sequential(
            *(nn.Linear(3 * 4 + 5, 32), nn.LayerNorm(32), nn.ReLU(inplace=True)),
            *(nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 1)),
        )

    def forward(self, rows: Tensor, numbers: Tensor) -> Tensor:
        out: Tensor = self.layers(torch.cat([self.table(rows).flatten(1), numbers], 1))
        return out


TABULAR = (torch.arange(18).view(6, 3), torch.linspace(-2, 2, 30).view(6, 5))
