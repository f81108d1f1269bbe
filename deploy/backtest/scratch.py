"""A registry in which a run's decisions are made again: the run's own files are read, and nothing is written.

Owns which records are the run's: commits, up to the one that is taken now, candidates and blobs. Does not know what is
decided.
"""

from collections.abc import Iterator
from typing import Any, TypeVar, cast

from msgspec import Struct
from msgspec.structs import replace

from deploy.registry.candidates import GONE, gone
from deploy.registry.kinds import CANDIDATES, CHAMPIONS, COMMITS, VERDICTS, Kind
from deploy.registry.records import Candidate
from deploy.registry.registry import Registry
from deploy.registry.reigns import versions
from learners.commits.commit import Commit

T = TypeVar("T", bound=Struct)


class Scratch(Registry):
    """Has version 0 and the candidates of `of`; all that is created is kept in memory.

    A candidate that has no artifact any more is one that was refused. Where the log begins at a later commit, what was
    decided up to there is the run's.
    """

    def __init__(self, of: Registry) -> None:
        super().__init__(of.home)
        self._of, self._now, self._gone = of, cast(Commit | None, None), gone(of)
        self._made = dict[tuple[str, int], Any]({(CHAMPIONS.name, 0): of.record(CHAMPIONS, 0)})
        if begins := self.begins():
            self._made.update(_before(of, begins))

    def show(self, commit: Commit) -> None:
        """Have this be the newest commit."""
        self._now = commit

    def create(self, kind: Kind[T], number: int, record: T) -> bool:
        """Keep a record, or return False because that number is taken."""
        return self._made.setdefault((kind.name, number), record) is record

    def record(self, kind: Kind[T], number: int) -> T | None:
        """Return a record, or None if there is none of that number."""
        if kind.name == COMMITS.name:
            return cast(T | None, self._commit(number))
        if kind.name == CANDIDATES.name:
            return cast(T | None, self._candidate(number))
        return cast(T | None, self._made.get((kind.name, number)))

    def made(self, kind: Kind[T]) -> dict[int, T]:
        """Return what was created of a kind, by number."""
        return {number: record for (name, number), record in sorted(self._made.items()) if name == kind.name}

    def last(self, kind: Kind[T], start: int = -1) -> int:
        """Return the highest number of a kind, -1 if there is none."""
        if kind.name == COMMITS.name:
            return self._now.number if self._now else -1
        while self.record(kind, start + 1) is not None:
            start += 1
        return start

    def _candidate(self, number: int) -> Candidate | None:
        found = self._of.record(CANDIDATES, number)
        return replace(found, refused=GONE) if found and number in self._gone else found

    def _commit(self, number: int) -> Commit | None:
        if self._now is None or number > self._now.number:
            return None
        return self._now if number == self._now.number else self._of.record(COMMITS, number)


def _before(of: Registry, begins: int) -> Iterator[tuple[tuple[str, int], Any]]:
    """Yield the versions that had served when the log begins, and the verdicts of before, by kind and number.

    Syncs, of which few have an artifact, are left out: what each was a sync of has answered. So numbers are other ones.
    """
    served = [one for one in versions(of) if one.sync_of is None and (one.commit or 0) <= begins]
    numbers = {one.number: n for n, one in enumerate(served)}
    for n, one in enumerate(served):
        back_to = None if one.back_to is None else numbers.get(one.back_to)
        yield (CHAMPIONS.name, n), replace(one, number=n, back_to=back_to)
    for candidate in of.records(CANDIDATES):
        verdict = of.record(VERDICTS, candidate.number)
        if verdict and verdict.commit <= begins:
            yield (VERDICTS.name, candidate.number), verdict
