"""The learner's commits in the registry, read from the newest back.

Owns what is left of each: without samples that a later commit made void, and holding those that it doubted. Does not
know models.
"""

from collections.abc import Iterable, Iterator

from msgspec import Struct

from deploy.registry.kinds import BASES, COMMITS
from deploy.registry.records import Base
from deploy.registry.registry import Registry
from learners.commits.commit import Commit
from learners.commits.voids import ALL, Bounds, lowered, remaining, remains, slots
from learners.labels.holds import left
from streams.errors import LetGo, RegistryError
from streams.events import WAITING, Sample
from streams.outputs.samples import number

AFTER_ALL = f"{1 << 62}-0"  # a position in a sample stream, after every sample


class Rebuilt(Struct, frozen=True, kw_only=True):
    """The state of commit `last`, rebuilt from that of commit `first`: how many samples it learned, and both digests.

    `kept` is that of the state in the registry, in one form for both. `environments` are those other than this one in
    which the commits were made: equal bits are promised only if there are none.
    """

    first: int
    last: int
    learned: int
    kept: str
    rebuilt: str
    environments: list[str]

    @property
    def equal(self) -> bool:
        """Whether the two states are the same, bit for bit."""
        return self.kept == self.rebuilt


def read(registry: Registry, n: int) -> Commit:
    """Read a commit.

    Raises:
        LetGo: the log begins at a later one.
        RegistryError: there is none.
    """
    commit = registry.record(COMMITS, n)
    if commit is None:
        raise RegistryError(f"there is no commit {n} in {registry.home}")
    return commit


def base(registry: Registry) -> Base | None:
    """Return where the log begins; None if that is commit 0."""
    return registry.record(BASES, first) if (first := registry.begins()) else None


def let_go(registry: Registry) -> str:
    """Return what to tell people of old samples that were let go, "" where all are there."""
    if (found := base(registry)) is None:
        return ""
    said = f"the log begins at commit {found.number}: {found.samples:,} samples before it were let go"
    return f"{said} (registry.keep_samples)"


def known(registry: Registry, n: int) -> Commit | None:
    """Return a commit, None if there is none yet or it was let go."""
    return registry.record(COMMITS, n) if n >= registry.begins() else None


def backwards(registry: Registry, last: int | None = None) -> Iterator[Commit]:
    """Yield what is left of each commit, from `last` (by default the newest) back to where the log begins."""
    for commit, bounds in walk(registry, last):
        yield remaining(commit, bounds)


def newest(commits: Iterable[Commit], samples: int) -> list[Commit]:
    """Return the fewest commits that hold so many samples, or all, oldest first; they come newest first."""
    taken: list[Commit] = []
    count = 0
    for commit in commits:
        taken.append(commit)
        count += len(commit.shadow)
        if count >= samples:
            break
    return taken[::-1]


def taken_back(registry: Registry, commit: Commit) -> list[Sample]:
    """Return the samples that a commit makes void, or doubts."""
    kept = lowered(ALL, commit.void, commit.doubted)
    least = {shard: n - 1 for shard, n in kept.since.items()} | dict(kept.last)
    found: list[Sample] = []
    for before in backwards(registry, commit.number - 1):
        if all(number(before.positions.get(str(shard), AFTER_ALL)) <= n for shard, n in least.items()):
            break  # nothing of it is taken back, nor of an earlier commit
        entries = left(list(enumerate(zip(slots(before), before.entries(), strict=True))), before.held)
        found += [
            one
            for at, (slot, one) in entries
            if one.kind != WAITING and (not remains(slot, kept) or (slot in kept.held and at >= before.released))
        ]
    return found


def walk(registry: Registry, last: int | None, bounds: Bounds = ALL) -> Iterator[tuple[Commit, Bounds]]:
    """Yield each commit as it was written, newest first, with what later ones, and `bounds`, leave of it.

    The last one is that at which the log begins, or a later one where it has come to begin later meanwhile.
    """
    first = registry.begins()  # before the newest is looked for, which is later then
    for n in range(registry.last(COMMITS) if last is None else last, first - 1, -1):
        try:
            commit = read(registry, n)
        except LetGo:
            return
        yield commit, bounds
        bounds = lowered(bounds, commit.void, commit.doubted)
