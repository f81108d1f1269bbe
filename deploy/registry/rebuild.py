"""A learner's state rebuilt from its commits, and compared with the one that was kept.

Owns where a rebuild begins, and the comparison. Does not know how a model learns.
"""

import hashlib
from collections.abc import Collection

from deploy.registry.commits import Rebuilt, read, walk
from deploy.registry.kinds import COMMITS
from deploy.registry.registry import Registry
from deploy.registry.states.kept import Kept, turn
from learners.commits.compact import pack
from learners.commits.forget import without
from learners.commits.state import fingerprint, fold
from learners.commits.voids import ALL, Bounds, remaining
from learners.online.learner import Learner
from streams.errors import CommitError, LetGo, RegistryError

AGAIN = "the pipeline has changed, and the log is being learned again"
NONE = "{} holds no commit with a whole state, from which learning could go on"


def rebuild(
    learner: Learner,
    registry: Registry,
    last: int,
    but: Bounds = ALL,
    base: int | None = None,
    forget: Collection[str] = (),
) -> int:
    """Bring a learner to the state of commit `last`, `but` for what that takes back.

    Begin at the newest whole state that is still kept of commit `base` or an earlier one, and return that commit's
    number. From there on the samples of the ids in `forget` are left out. A state that is damaged is passed over.

    Raises:
        LetGo: it would begin before the log does.
        RegistryError, CommitError: a commit or state is missing, or they do not belong together.
    """
    after: list[tuple[int, Bounds]] = []
    kept = Kept(registry)
    for commit, bounds in walk(registry, last, but):
        state = kept.of(commit, bounds) if base is None or commit.number <= base else None
        if state is not None:
            break
        after.append((commit.number, bounds))
    else:
        if first := registry.begins():
            raise LetGo(
                f"{registry.home}: the log begins at commit {first}, and what would have to be learned again from a "
                "state of before that cannot be: older samples were let go (registry.keep_samples)"
            )
        raise RegistryError(NONE.format(registry.home))
    learner.load(state)
    left = (remaining(read(registry, n), bounds) for n, bounds in reversed(after))
    fold(learner, (without(commit, forget) for commit in left))
    expected = read(registry, last).learned
    if but is ALL and not forget and learner.learned != expected:
        raise CommitError(f"commit {last} ends at {expected} samples; the learner has {learner.learned}")
    return commit.number


def check(learner: Learner, registry: Registry, first: int = 0, last: int | None = None) -> Rebuilt:
    """Rebuild the newest whole state (of commit `last` at most) from that of commit `first`, and compare the bits.

    The first is that at which the log begins where older samples were let go.
    """
    kept, turned, begins = Kept(registry), turn(registry), registry.begins()
    for number in range(registry.last(COMMITS) if last is None else last, begins - 1, -1):
        state = kept.of(read(registry, number))
        if state is not None:
            break
    else:
        raise RegistryError(NONE.format(registry.home))
    if turned and number <= turned.commit:
        raise RegistryError(f"{AGAIN}; look again once its state is written")
    begun = rebuild(learner, registry, number, base=min(max(first, begins), max(begins, number - 1)))
    fingerprints = {read(registry, n).fingerprint for n in range(begun, number + 1)}
    return Rebuilt(
        first=begun,
        last=number,
        learned=learner.learned,
        kept=hashlib.sha256(pack(state)).hexdigest(),
        rebuilt=hashlib.sha256(pack(learner.state())).hexdigest(),
        environments=sorted(fingerprints - {fingerprint()}),
    )
