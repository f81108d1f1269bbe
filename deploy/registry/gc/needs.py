"""What each blob and state of a registry is kept for, by the records that there are.

States go but for few, and artifacts of candidates that no longer can serve; what another record names stays. Owns these
rules. Does not know how anything is deleted.
"""

import re
from collections.abc import Collection, Iterator, Mapping

from msgspec import Struct

from deploy.registry.commits import base
from deploy.registry.gc.heads import Heads
from deploy.registry.kinds import (
    BASES,
    BLOBS,
    CANDIDATES,
    CHAMPIONS,
    COMMITS,
    ENGINES,
    EVALUATOR,
    KINDS,
    ORDERS,
    SUFFIX,
    VERDICTS,
)
from deploy.registry.records import Candidate, Engine
from deploy.registry.registry import Registry
from deploy.registry.reigns import SYNCS, versions
from deploy.registry.seals import digest as digest_of
from deploy.registry.states.names import Name, of

LEAST = 2  # of the newest states stay, whatever their ordinals: others may lie between that are of no commit
NEAR = 4  # so many of the newest states stay; a state twice as far back is one of half as many
NEWEST = 8  # candidates whose artifacts stay, however large they are
ROOM_BYTES = 64_000_000  # as many of the newest candidates' artifacts stay as take no more
NO_COMMIT = "commit {}, which may still come"
DIGEST = re.compile(rb"[0-9a-f]{64}")
OTHERS = (*(kind.name for kind in KINDS if kind not in (COMMITS, CANDIDATES, CHAMPIONS, BASES)), ENGINES)


class Need(Struct):
    """What a blob is, and what it is kept for; it goes where that is nothing."""

    what: str
    kept_for: list[str]


class Needs:
    """What blobs are kept for, whose `sizes` are given by digest, and the objects `states`."""

    def __init__(self, registry: Registry, sizes: Mapping[str, int], states: Collection[str], heads: Heads) -> None:
        self._registry, self._sizes, self._kept, self._heads = registry, sizes, states, heads

    def read(self) -> dict[str, Need]:
        """Return what each blob is kept for that a record names, by digest, and each state, by its object's name.

        Raises:
            RegistryError, CommitError: a commit is damaged or missing.
        """
        candidates = list(self._registry.records(CANDIDATES))
        found = dict[str, Need]()
        for digest, what, kept_for in (*self._states(candidates), *self._artifacts(candidates), *self._others()):
            need = found.setdefault(digest, Need(what, []))
            need.kept_for += [kept_for] if kept_for else []
        return found

    def _states(self, candidates: list[Candidate]) -> Iterator[tuple[str, str, str]]:
        """Yield the states that commits name, those of older releases all, and then the others, in one order.

        Those of the last two commits at which the log began stay: a backup may have the older one.
        """
        heads, before = self._heads.read(self._registry), base(self._registry)
        named, begins = [head for head in heads if head.state is not None], heads[0].number if heads else 0
        due = {head.number for head in heads if head.due} - {one.commit for one in candidates if not one.by}
        for number in self._registry.numbers(BASES)[-2:]:
            if one := self._registry.record(BASES, number):
                yield one.state.removeprefix(f"{BLOBS}/"), "state", f"the log, which begins at commit {number}"
        names, start = [name for name in map(of, self._kept) if name is not None], before.states if before else 0
        begun = max(0, start + len(named) - 1)
        owned = [name for name in names if begins <= name.number < begins + len(heads) and self._owned(name)]
        newest = begun + max((name.ordinal for name in owned), default=0)
        for i, head in enumerate(named, start):
            for kept_for in _state_for(head.number, stays(i, newest), due):
                yield str(head.state), "state", kept_for
        for name in names:
            if name.number >= begins + len(heads):
                yield name.object, "state", NO_COMMIT.format(name.number)
            elif name.number < begins:
                yield name.object, "state of a commit that was let go", ""
            elif name not in owned:
                yield name.object, "state of a commit that lost its race", ""
            else:
                near = name in owned[-LEAST:] or stays(begun + name.ordinal, newest)
                for kept_for in _state_for(name.number, near, due):
                    yield name.object, "state", kept_for

    def _owned(self, name: Name) -> bool:
        """Return whether a state is of the commit that there is."""
        return digest_of(self._registry.read(COMMITS, name.number) or b"") == name.chain

    def _artifacts(self, candidates: list[Candidate]) -> Iterator[tuple[str, str, str]]:
        """Yield what candidates name: artifacts, with the ranges by which an engine runs one, and templates."""
        room = ROOM_BYTES
        ordered = {order.candidate for order in self._registry.records(ORDERS)}
        summaries = min((number for number, _ in self._registry.folds(EVALUATOR.name).names()), default=None)
        for one in reversed(candidates):
            room -= self._sizes.get(one.artifact, 0)
            verdict = self._registry.record(VERDICTS, one.number)
            why = {
                f"candidate {one.number}, of the newest": one.number >= len(candidates) - NEWEST or room >= 0,
                f"the test of candidate {one.number}": one.refused is None and verdict is None,
                f"a summary of before the verdict on candidate {one.number}": bool(
                    verdict and summaries is not None and summaries <= verdict.commit
                ),
                f"an order of candidate {one.number}": one.number in ordered,
            }
            for kept_for in [text for text, kept in why.items() if kept] or [""]:
                yield one.artifact, "artifact", kept_for
                if isinstance(one.engine, Engine) and one.engine.ranges:
                    yield one.engine.ranges, "ranges of an engine", kept_for
            if isinstance(one.engine, Engine):
                yield one.engine.template, "template of an engine", f"{CANDIDATES.name}/{one.number}"

    def _others(self) -> Iterator[tuple[str, str, str]]:
        """Yield what other records name; of syncs the newest alone, as a rebuild makes the others again."""
        objects, served = self._registry.objects, versions(self._registry)
        newest = range(served[-1].number, served[-1].number - SYNCS, -1) if served else ()
        tested = (CHAMPIONS.object(one.number) for one in served if one.sync_of is None)
        champions = {*tested, *map(CHAMPIONS.object, newest)}
        for name in sorted(champions | {name for folder in OTHERS for name in objects.list(folder)}):
            for digest in sorted({one.decode() for one in DIGEST.findall(objects.get(name) or b"")}):
                if digest in self._sizes:
                    yield digest, "artifact or another", name.removesuffix(SUFFIX)


def _state_for(number: int, stays: bool, due: Collection[int]) -> Iterator[str]:
    """Yield what the state of a commit is kept for, "" besides."""
    yield f"a rebuild from commit {number} on" if stays else ""
    yield f"the candidate of commit {number}, which is due" if number in due else ""


def stays(i: int, newest: int) -> bool:
    """Return whether the i-th state of a log stays, whose newest is the one of number `newest`.

    What is dropped once stays dropped, and a rebuild learns at most 1.65 times as much as from the nearest one.

    >>> [i for i in range(101) if stays(i, 100)]
    [0, 32, 48, 64, 72, 80, 88, 92, 94, 96, 97, 98, 99, 100]
    """
    return i == 0 or newest - i < NEAR * (i & -i)
