"""From samples to rows: the raw features are decoded, and encoded by the user's function; the newest are kept.

Owns how a sample becomes inputs and a target. Does not know who learns from them.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import cache
from itertools import chain
from typing import Any, Generic, TypeVar, cast

import numpy as np
import torch
from msgspec import Raw
from msgspec.structs import replace
from torch import Tensor, nn

from compressors.data import Data, Scaled
from compressors.errors import Unsuited
from compressors.rows import Collated, as_batch, encoded, parameters_of
from learners.tasks.task import Completing, Task
from streams.errors import ConfigError, MalformedEvent
from streams.events import Sample
from streams.readers import Json, Migrate, Migrated

Inputs = tuple[Tensor, ...]  # a model's positional arguments, the first dimension of each N
Row = TypeVar("Row")


class Encoder:
    """Decodes the features' JSON into the pipeline's type, and encodes N of these into the model's inputs.

    `encode` may fill its batch up to the longest row: what answers or learns many rows encodes each part of them anew.
    If it returns a dict, `model` makes a network, whose forward says in which order the inputs come.
    """

    def __init__(
        self,
        features: type,
        encode: Callable[[Sequence[Any]], Any],
        model: Callable[[], nn.Module] | None = None,
        migrate: Migrate | None = None,
    ) -> None:
        """`migrate` makes of a row's JSON, old or new, what `features` is decoded from."""
        self._json: Migrated[Any] | Json[Any] = Migrated(features, migrate) if migrate else Json(features)
        self.decode: Callable[[bytes | Raw], Any] = self._json
        self._encode, self._model, self._parameters = encode, model, tuple[str, ...]()

    def encode(self, rows: Sequence[Any]) -> Inputs:
        """Encode decoded features.

        Raises:
            ConfigError: what the user's function returned is no batch of so many rows.
        """
        try:
            return as_batch(self._made(rows), len(rows), "encode", self._parameters)
        except Unsuited as wrong:
            raise ConfigError(str(wrong)) from None

    def _made(self, rows: Sequence[Any]) -> Any:
        made = self._encode(rows)
        if not self._parameters and self._model and not isinstance(made, Tensor | tuple | list):
            with torch.random.fork_rng(devices=[]):
                self._parameters = parameters_of(self._model())
        return made

    def inputs(self, samples: Sequence[Sample]) -> Inputs:
        """Encode the samples' features as one batch."""
        return self.encode(self.decoded(samples))

    def rows(self, samples: Sequence[Sample]) -> Collated:
        """Return the samples' features as rows, which are encoded in parts."""
        sizes = [len(s.prediction.features) for s in samples]
        return Collated(self.decoded(samples), self.encode, sizes=sizes)

    def data(self, samples: Sequence[Sample], task: Task) -> Data:
        """Return the samples as rows that the task learns, encoded once and for all if all come out in one shape."""
        target = labels(completed(samples, task), exact=isinstance(task, Scaled))
        return Data(encoded(self.decoded(samples), self.encode), target)

    def decoded(self, samples: Sequence[Sample]) -> list[Any]:
        """Return the samples' features, decoded."""
        return self._json.each([s.prediction.features for s in samples])


def readable(encoder: Encoder, samples: Sequence[Sample]) -> tuple[list[int], Collated]:
    """Return which samples an encoder can read, and these as its rows."""
    at, rows = list[int](), list[Any]()
    for n, one in enumerate(samples):
        with suppress(MalformedEvent):
            rows.append(encoder.decode(one.prediction.features))
            at.append(n)
    return at, Collated(rows, encoder.encode)


class Newest(Generic[Row]):
    """The newest rows: the fewest whole batches that hold `most` of them, or all."""

    def __init__(self, most: int) -> None:
        self._most, self._count = most, 0
        self._batches: deque[Sequence[Row]] = deque()

    def add(self, rows: Sequence[Row]) -> None:
        """Add a batch, and drop the oldest ones that are not needed any more."""
        self._batches.append(rows)
        self._count += len(rows)
        while self._count - len(self._batches[0]) >= self._most:
            self._count -= len(self._batches.popleft())

    @property
    def batches(self) -> Sequence[Sequence[Row]]:
        """The batches, the oldest first."""
        return list(self._batches)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Row]:
        """Yield the rows, the oldest first."""
        return chain.from_iterable(self._batches)


def completed(samples: Sequence[Sample], task: Task) -> Sequence[Sample]:
    """Return the samples, each with its whole target as label.

    Raises:
        MalformedEvent: one has none.
    """
    if not _completes(type(task)):
        return samples
    return [replace(sample, label=cast(Completing, task).complete(sample)) for sample in samples]


@cache
def _completes(kind: type[Task]) -> bool:
    return issubclass(kind, Completing)  # python looks at each attribute, every time


def labels(samples: Sequence[Sample], *, exact: bool = False) -> Tensor:
    """Return the labels, (N,), or (N, T) where a target has T numbers, as float32; exact as float64."""
    return _tensor([s.label for s in samples], exact=exact)


def served(samples: Sequence[Sample], *, exact: bool = False) -> Tensor:
    """Return what was answered, shape (N, K)."""
    if not any(s.prediction.answer for s in samples):
        return bare(samples, exact=exact)
    return torch.tensor([s.prediction.served for s in samples], dtype=kind(exact=exact))


def bare(samples: Sequence[Sample], *, exact: bool = False) -> Tensor:
    """Return what the version that served said by itself, under the live intercept, shape (N, K)."""
    output = _tensor([s.prediction.output for s in samples], exact=True)
    intercept = _tensor([s.prediction.intercept for s in samples], exact=True)
    return (output + intercept).to(kind(exact=exact))


def _tensor(rows: Sequence[Any], *, exact: bool) -> Tensor:
    """Return numbers as a tensor; numpy makes one of floats in a quarter of torch's time."""
    return torch.from_numpy(np.array(rows, np.float64)).to(kind(exact=exact))


def kind(*, exact: bool) -> torch.dtype:
    """Return the type of labels and answers: float64 where they have a unit, in which their spread may be small."""
    return torch.float64 if exact else torch.float32
