"""Voids: what remains of earlier commits once a store that went back in time has lost some of their samples.

A commit's `void` takes back every sample of a shard after a position that earlier commits hold; so commits are looked
at newest first. Owns which samples a void takes back, and the commit without them. Does not know where commits are
kept.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, compress, islice
from typing import NamedTuple

import msgspec

from learners.commits.commit import Commit, Run, is_mark
from streams.outputs.samples import number

Bounds = dict[int, int]  # by shard, the number of the last sample that remains


class Slot(NamedTuple):
    """Which sample it is: its shard, and its number there, from 1."""

    shard: int
    number: int


def lowered(bounds: Bounds, void: Mapping[str, str]) -> Bounds:
    """Return the bounds of what remains before a commit with this `void`, `bounds` being those of the later commits."""
    lower = dict(bounds)
    for shard, position in void.items():
        lower[int(shard)] = min(number(position), lower.get(int(shard), number(position)))
    return lower


def remaining(commit: Commit, bounds: Bounds) -> Commit:
    """Return what remains of a commit: its whole state only where nothing of it is void."""
    positions = {shard: at for shard, at in commit.positions.items() if remains(Slot(int(shard), number(at)), bounds)}
    if len(positions) == len(commit.positions):
        return commit
    return msgspec.structs.replace(
        selected(commit, [remains(slot, bounds) for slot in slots(commit)]),
        quarantined=[one for one in commit.quarantined if remains(Slot(one.shard, number(one.position)), bounds)],
        positions=positions,
    )


def selected(commit: Commit, stays: Sequence[bool]) -> Commit:
    """Return a commit with those of its samples that stay, in smaller micro-batches, and without its whole state."""
    held, place = {hold.at for hold in commit.held}, [0, *accumulate(stays)]
    answered = [at not in held and not is_mark(sample) for at, sample in enumerate(commit.samples)]
    of_batches = iter(stays)
    sizes = [sum(islice(of_batches, size)) for size in commit.batches]
    return msgspec.structs.replace(
        commit,
        samples=list(compress(commit.samples, stays)),
        shadow=list(compress(commit.shadow, compress(stays, answered))),
        runs=runs(compress(slots(commit), stays)),
        batches=[size for size in sizes if size],
        held=[hold.moved(place[hold.at] - hold.at) for hold in commit.held if stays[hold.at]],
        released=place[commit.released],
        state=None,
    )


def remains(slot: Slot, bounds: Bounds) -> bool:
    """Return whether a sample remains."""
    return slot.number <= bounds.get(slot.shard, slot.number)


def slots(commit: Commit) -> Iterator[Slot]:
    """Yield the slot of each sample of a commit, in the order learned."""
    for run in commit.runs:
        for n in range(run.count):
            yield Slot(run.shard, run.first + n)


def runs(slots: Iterable[Slot]) -> list[Run]:
    """Return the slots in the same order, those that follow each other as one run."""
    joined: list[Run] = []
    for slot in slots:
        last = joined[-1] if joined else None
        if last and (last.shard, last.first + last.count) == slot:
            joined[-1] = Run(last.shard, last.first, last.count + 1)
        else:
            joined.append(Run(slot.shard, slot.number, 1))
    return joined
