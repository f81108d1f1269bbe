"""A model of an earlier pipeline reads the log in its own way, and answers 0 where it cannot."""

from typing import Any

import msgspec
import torch
from msgspec import Raw
from msgspec.structs import replace
from torch import Tensor, nn

from learners.evaluation.earlier import answer_entries, batch_for
from learners.online.batches import Encoder
from tests import small


class Before(msgspec.Struct):
    x: tuple[float, float, float, float]
    left: float


def sums(rows: Any) -> tuple[Tensor, ...]:
    return (torch.tensor([[sum(row.x) + row.left] for row in rows]),)


class Same(nn.Module):
    """Answers what it is given; `encoder` is that of an earlier pipeline."""

    encoder = Encoder(Before, sums)

    def forward(self, given: Tensor) -> Tensor:
        return given


def test_each_model_is_asked_by_its_own_inputs_and_in_the_order_given() -> None:
    entries = small.samples(4)
    x = [msgspec.json.decode(one.prediction.features, type=small.Point).x for one in entries]
    for n in (0, 2):  # those that have what was read before
        features = Raw(msgspec.json.encode({"x": x[n], "left": 1.0}))
        entries[n] = replace(entries[n], prediction=replace(entries[n].prediction, features=features))
    today, before = small.net(), Same()
    rows = Encoder(small.Point, small.encode).rows(entries)
    found = answer_entries({"before": before, "today": today}, rows, entries, torch.empty(0, 1))
    assert list(found) == ["before", "today"]
    torch.testing.assert_close(found["before"][:, 0], torch.tensor([sum(x[0]) + 1, 0.0, sum(x[2]) + 1, 0.0]))
    torch.testing.assert_close(found["today"], today(torch.tensor(x)).detach())
    batch = batch_for(before, entries)
    assert batch is not None
    assert len(batch[0]) == 2
    assert batch_for(before, entries[1:2]) is None
    assert batch_for(today, entries) is None
