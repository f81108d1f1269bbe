"""Negatives that a later outcome may still correct: kept with what was answered, so that each id counts once.

Owns which answers count for good. Does not know how they are scored.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from msgspec import Struct
from torch import Tensor

from learners.resumed import Resumed
from streams.events import CORRECTION, NEGATIVE, Sample


class Answers(NamedTuple):
    """N predictions: their times, the slices that they are in, what M models answered (M, N, K), and their targets."""

    t_ms: list[int]
    values: list[tuple[str, ...]]
    outputs: Tensor
    target: Tensor

    def at(self, chosen: Sequence[int]) -> "Answers":
        """Return those at these places."""
        at = list(chosen)
        return Answers([self.t_ms[n] for n in at], [self.values[n] for n in at], self.outputs[:, at], self.target[at])


class ProvisionalState(Struct):
    """The negatives, by id."""

    _kept: dict[str, Answers]


class Provisional(Resumed):
    """The negatives, by id, each as an `Answers` of one."""

    State = ProvisionalState

    def __init__(self) -> None:
        self._kept: dict[str, Answers] = {}

    def sift(self, samples: Sequence[Sample], answers: Answers) -> Answers:
        """Keep the negatives; return the others, a correction with the answers to what it corrects."""
        final = list[int]()
        for n, sample in enumerate(samples):
            if sample.kind == NEGATIVE:
                self._kept[sample.id] = answers.at([n])
                continue
            if sample.kind == CORRECTION and (kept := self._kept.pop(sample.id, None)):
                answers.outputs[:, n] = kept.outputs[:, 0]
            final.append(n)
        return answers if len(final) == len(samples) else answers.at(final)

    def settled(self, before_ms: int) -> Answers | None:
        """Take out the predictions before a time, which nothing corrects any more; None if there are none."""
        final = [key for key, one in self._kept.items() if one.t_ms[0] < before_ms]
        return _together([self._kept.pop(key) for key in final])

    @property
    def all(self) -> Answers | None:
        """All that are kept."""
        return _together(list(self._kept.values()))


def _together(parts: Sequence[Answers]) -> Answers | None:
    if not parts:
        return None
    times, values = [one.t_ms[0] for one in parts], [one.values[0] for one in parts]
    return Answers(
        times, values, torch.cat([one.outputs for one in parts], 1), torch.cat([one.target for one in parts])
    )
