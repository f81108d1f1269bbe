"""Commits as if the events of some ids had never been.

Owns which samples that leaves out: the others keep their order, and the bounds of their micro-batches, which get
smaller. Does not know where commits are kept.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator

import msgspec
from msgspec import Raw, Struct

from learners.commits.commit import Commit
from learners.commits.voids import selected


class _Named(Struct):
    id: str


_named = msgspec.json.Decoder(_Named)


def id_of(sample: Raw | str) -> str:
    """Return the id of a sample, given as JSON."""
    return _named.decode(sample).id


def without(commit: Commit, ids: Collection[str]) -> Commit:
    """Return a commit without the samples of these ids; where it has none of them, it is the same."""
    stays = [one not in ids for one in _ids(commit)] if ids else []
    return commit if all(stays) else selected(commit, stays)


def learned(commits: Iterable[Commit], ids: Collection[str]) -> dict[int, Counter[str]]:
    """Return by number of commit how many samples and marks of each id it has; a commit without one is left out."""
    found = ((commit.number, Counter(one for one in _ids(commit) if one in ids)) for commit in commits)
    return {number: counts for number, counts in found if counts}


def _ids(commit: Commit) -> Iterator[str]:
    """Yield the id of each sample, in the order learned."""
    return map(id_of, commit.samples)
