"""The learner's commits in the registry: read from the newest back, and a state rebuilt from them.

Owns where a rebuild begins, and the comparison of a state with the one that its commits make. Does not know how a model
learns. Everywhere here, samples that a later commit made void are left out.
"""

import hashlib
from collections.abc import Iterator, Mapping

from msgspec import Struct

from deploy.registry.kinds import COMMITS
from deploy.registry.registry import Registry
from learners.commits import commit as commits
from learners.commits.commit import Commit
from learners.commits.voids import Bounds, lowered, remaining, remains, slots
from learners.online.learner import Learner
from streams.errors import CommitError, RegistryError
from streams.events import Sample
from streams.outputs.samples import number

AFTER_ALL = f"{1 << 62}-0"  # a position in a sample stream, after every sample


class Rebuilt(Struct, frozen=True, kw_only=True):
    """The state of commit `last`, rebuilt from that of commit `first`: how many samples it learned, and both digests.

    `kept` is the digest of the state in the registry. `environments` are those other than this one in which the commits
    were made: equal bits are promised only if there are none.
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
        RegistryError: there is none.
    """
    commit = registry.record(COMMITS, n)
    if commit is None:
        raise RegistryError(f"there is no commit {n} in {registry.folder}")
    return commit


def backwards(registry: Registry, last: int | None = None) -> Iterator[Commit]:
    """Yield what is left of each commit, from `last` (by default the newest) back to the first."""
    for commit, bounds in _walk(registry, last, {}):
        yield remaining(commit, bounds)


def rebuild(
    learner: Learner,
    registry: Registry,
    last: int,
    void: Mapping[str, str] | None = None,
    base: int | None = None,
) -> int:
    """Bring a learner to the state of commit `last`, less the samples after the positions in `void`.

    Begin at the newest whole state of commit `base` or an earlier one, and return that commit's number.

    Raises:
        RegistryError, CommitError: a commit or state is missing, or they do not belong together.
    """
    after: list[tuple[int, Bounds]] = []
    for commit, bounds in _walk(registry, last, void or {}):
        state = remaining(commit, bounds).state
        if state is not None and commit.number <= (last if base is None else base):
            break
        after.append((commit.number, bounds))
    else:
        raise RegistryError(f"{registry.folder} holds no commit with a whole state, from which learning could go on")
    learner.load(commits.unpack_state(registry.get(state)))
    commits.fold(learner, (remaining(read(registry, n), bounds) for n, bounds in reversed(after)))
    expected = read(registry, last).learned
    if not void and learner.learned != expected:
        raise CommitError(f"commit {last} ends at {expected} samples; the learner has {learner.learned}")
    return commit.number


def check(learner: Learner, registry: Registry, first: int = 0, last: int | None = None) -> Rebuilt:
    """Rebuild the newest whole state (of commit `last` at most) from that of commit `first`, and compare the bits."""
    numbers = range(registry.last(COMMITS) if last is None else last, -1, -1)
    whole = next(commit for commit in (read(registry, n) for n in numbers) if commit.state is not None)
    begun = rebuild(learner, registry, whole.number, base=min(first, max(0, whole.number - 1)))
    digest = hashlib.sha256(commits.pack_state(learner.state())).hexdigest()
    fingerprints = {read(registry, n).fingerprint for n in range(begun, whole.number + 1)}
    return Rebuilt(
        first=begun,
        last=whole.number,
        learned=learner.learned,
        kept=str(whole.state),
        rebuilt=digest,
        environments=sorted(fingerprints - {commits.fingerprint()}),
    )


def taken_back(registry: Registry, commit: Commit) -> list[Sample]:
    """Return the samples that a commit makes void."""
    kept = lowered({}, commit.void)
    voided: list[Sample] = []
    for before in backwards(registry, commit.number - 1):
        if all(number(before.positions.get(shard, AFTER_ALL)) <= kept[int(shard)] for shard in commit.void):
            break  # nothing of it is void, nor of an earlier commit
        samples = zip(slots(before), before.read(), strict=True)
        voided += [sample for slot, sample in samples if not remains(slot, kept)]
    return voided


def _walk(registry: Registry, last: int | None, void: Mapping[str, str]) -> Iterator[tuple[Commit, Bounds]]:
    """Yield each commit as it was written, newest first, with what later ones leave of it."""
    bounds = lowered({}, void)
    for n in range(registry.last(COMMITS) if last is None else last, -1, -1):
        commit = read(registry, n)
        yield commit, bounds
        bounds = lowered(bounds, commit.void)
