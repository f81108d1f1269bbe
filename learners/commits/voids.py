"""What later commits leave of earlier ones: without samples that the store has lost, and that are held after all.

A commit's `void` takes back every sample of a shard after a position that earlier commits hold, where a store went back
in time; its `doubted` holds samples of them. So commits are looked at newest first. Owns which samples that concerns,
and the commit without them. Does not know where commits are kept.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, compress, islice
from types import MappingProxyType
from typing import NamedTuple

import msgspec

from learners.commits.commit import Commit, Doubted, Run, is_mark
from learners.labels.holds import Hold
from streams.outputs.samples import number


class Slot(NamedTuple):
    """Which sample it is: its shard, and its number there, from 1."""

    shard: int
    number: int


class Bounds(NamedTuple):
    """What later commits leave.

    `last`: by shard, the number of the last sample that remains.
    `held`: the source and the reason of each sample that is held after all; `since`: by shard, the first one's number.
    """

    last: Mapping[int, int] = MappingProxyType({})
    held: Mapping[Slot, tuple[str, str]] = MappingProxyType({})
    since: Mapping[int, int] = MappingProxyType({})


ALL = Bounds()


def lowered(bounds: Bounds, void: Mapping[str, str], doubted: Sequence[Doubted] = ()) -> Bounds:
    """Return what is left before a commit that is `void` and `doubted` so, `bounds` being that of the later commits."""
    last, held, since = dict(bounds.last), dict(bounds.held), dict(bounds.since)
    for shard, position in void.items():
        last[int(shard)] = min(number(position), last.get(int(shard), number(position)))
    for one in doubted:
        held.update(dict.fromkeys(expanded(one.runs), (one.source, one.why)))
        for run in one.runs:
            since[run.shard] = min(run.first, since.get(run.shard, run.first))
    return Bounds(last, held, since)


def remaining(commit: Commit, bounds: Bounds) -> Commit:
    """Return what remains of a commit: its whole state only where all that led to it remains, and is not held."""
    at = [Slot(int(shard), number(position)) for shard, position in commit.positions.items()]
    if not all(remains(slot, bounds) for slot in at):
        positions = compress(commit.positions.items(), [remains(slot, bounds) for slot in at])
        commit = msgspec.structs.replace(
            selected(commit, [remains(slot, bounds) for slot in slots(commit)]),
            quarantined=[one for one in commit.quarantined if remains(Slot(one.shard, number(one.position)), bounds)],
            positions=dict(positions),
        )
    return _holding(commit, bounds) if any(n >= bounds.since.get(shard, n + 1) for shard, n in at) else commit


def _holding(commit: Commit, bounds: Bounds) -> Commit:
    """Return a commit that holds its doubted samples, without its whole state."""
    which = [at >= commit.released and slot in bounds.held for at, slot in enumerate(slots(commit))]
    new = [Hold(at, *bounds.held[slot]) for at, slot in enumerate(slots(commit)) if which[at]]
    stays = [not doubted for doubted, answered in zip(which, _answered(commit), strict=True) if answered]
    held = sorted([*commit.held, *new], key=lambda hold: hold.at)
    return msgspec.structs.replace(commit, held=held, shadow=list(compress(commit.shadow, stays)), state=None)


def selected(commit: Commit, stays: Sequence[bool]) -> Commit:
    """Return a commit with those of its samples that stay, in smaller micro-batches, and without its whole state."""
    place = [0, *accumulate(stays)]
    of_batches = iter(stays)
    sizes = [sum(islice(of_batches, size)) for size in commit.batches]
    return msgspec.structs.replace(
        commit,
        samples=list(compress(commit.samples, stays)),
        shadow=list(compress(commit.shadow, compress(stays, _answered(commit)))),
        runs=runs(compress(slots(commit), stays)),
        batches=[size for size in sizes if size],
        held=[hold.moved(place[hold.at] - hold.at) for hold in commit.held if stays[hold.at]],
        released=place[commit.released],
        state=None,
    )


def _answered(commit: Commit) -> list[bool]:
    """Return which of its entries the shadow has answered: not marks, nor what is held."""
    held = {hold.at for hold in commit.held}
    return [at not in held and not is_mark(sample) for at, sample in enumerate(commit.samples)]


def remains(slot: Slot, bounds: Bounds) -> bool:
    """Return whether a sample remains."""
    return slot.number <= bounds.last.get(slot.shard, slot.number)


def slots(commit: Commit) -> Iterator[Slot]:
    """Yield the slot of each sample of a commit, in the order learned."""
    yield from expanded(commit.runs)


def expanded(runs: Iterable[Run]) -> Iterator[Slot]:
    """Yield the slot of each sample of the runs."""
    for run in runs:
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
