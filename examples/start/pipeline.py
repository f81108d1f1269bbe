"""Which visits end in a purchase: learned from the outcomes of what was predicted."""

from collections.abc import Sequence

import msgspec
import torch
from torch import Tensor

from shadowstream import Online, Pipeline


class Visit(msgspec.Struct):
    """The JSON of a request's value; the record's key is the visit's id."""

    age: float
    pages: float


def encode(visits: Sequence[Visit]) -> tuple[Tensor, ...]:
    """Return the model's inputs, one row a visit."""
    return (torch.tensor([[visit.age / 100, visit.pages / 20] for visit in visits]),)


def model() -> torch.nn.Module:
    """Return a new network, untrained: without a history the first version answers by chance."""
    return torch.nn.Sequential(torch.nn.Linear(2, 32), torch.nn.ReLU(), torch.nn.Linear(32, 1))


pipeline = Pipeline(
    name="my-feed",
    features=Visit,
    encode=encode,
    model=model,
    online=Online(learning_rate=0.01, half_life=1_500),  # a small feed: learn faster than the defaults
)
