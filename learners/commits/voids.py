"""Voids: what is left of earlier commits after the store that had held their samples went back in time.

Owns which samples a void takes back, and the commit without them. Does not know where commits are kept. A void in
commit n takes back what commits before n hold of a shard behind a position; so commits are looked at newest first.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import compress

import msgspec

from learners.commits.commit import Commit, Run
from streams.outputs.samples import number

Place = tuple[int, int]  # a sample's shard, and its number there
Bounds = dict[int, int]  # by shard, the number of the last sample that is left


def lowered(bounds: Bounds, void: Mapping[str, str]) -> Bounds:
    """Give what is left before a commit that says `void`, where later ones leave `bounds`."""
    found = dict(bounds)
    for shard, position in void.items():
        found[int(shard)] = min(number(position), found.get(int(shard), number(position)))
    return found


def left(commit: Commit, bounds: Bounds) -> Commit:
    """Give a commit without what is void: samples, positions, and a state that held such samples."""
    positions = {shard: at for shard, at in commit.positions.items() if is_left((int(shard), number(at)), bounds)}
    if len(positions) == len(commit.positions):
        return commit
    stays = [is_left(place, bounds) for place in places(commit)]
    kept = iter(stays)
    sizes = [sum(next(kept) for _ in range(size)) for size in commit.batches]
    return msgspec.structs.replace(
        commit,
        samples=list(compress(commit.samples, stays)),
        shadow=list(compress(commit.shadow, stays)),
        runs=runs(compress(places(commit), stays)),
        batches=[size for size in sizes if size],
        quarantined=[one for one in commit.quarantined if is_left((one.shard, number(one.position)), bounds)],
        positions=positions,
        state=None,
    )


def is_left(place: Place, bounds: Bounds) -> bool:
    """Tell whether a sample is left."""
    return place[1] <= bounds.get(place[0], place[1])


def places(commit: Commit) -> Iterator[Place]:
    """Give the place of each sample that was learned, in order."""
    for run in commit.runs:
        for n in range(run.count):
            yield run.shard, run.first + n


def runs(learned: Iterable[Place]) -> list[Run]:
    """Put places together that follow each other."""
    found: list[Run] = []
    for shard, n in learned:
        last = found[-1] if found else None
        if last and (last.shard, last.first + last.count) == (shard, n):
            found[-1] = Run(shard, last.first, last.count + 1)
        else:
            found.append(Run(shard, n, 1))
    return found
