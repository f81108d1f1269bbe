"""A learner's state rebuilt from its commits, and compared with the one that was kept.

Owns where a rebuild begins, and the comparison. Does not know how a model learns.
"""

import hashlib
from collections.abc import Collection

from deploy.registry.commits import Rebuilt, read, walk
from deploy.registry.kinds import COMMITS
from deploy.registry.registry import Registry
from learners.commits.forget import without
from learners.commits.state import fingerprint, fold, pack_state, unpack_state
from learners.commits.voids import ALL, Bounds, remaining
from learners.online.learner import Learner
from streams.errors import CommitError, RegistryError


def rebuild(
    learner: Learner,
    registry: Registry,
    last: int,
    but: Bounds = ALL,
    base: int | None = None,
    forget: Collection[str] = (),
) -> int:
    """Bring a learner to the state of commit `last`, `but` for what that takes back.

    Begin at the newest whole state of commit `base` or an earlier one, and return that commit's number. From there on
    the samples of the ids in `forget` are left out.

    Raises:
        RegistryError, CommitError: a commit or state is missing, or they do not belong together.
    """
    after: list[tuple[int, Bounds]] = []
    for commit, bounds in walk(registry, last, but):
        state = remaining(commit, bounds).state
        if state is not None and commit.number <= (last if base is None else base):
            break
        after.append((commit.number, bounds))
    else:
        raise RegistryError(f"{registry.folder} holds no commit with a whole state, from which learning could go on")
    learner.load(unpack_state(registry.get(state)))
    left = (remaining(read(registry, n), bounds) for n, bounds in reversed(after))
    fold(learner, (without(commit, forget) for commit in left))
    expected = read(registry, last).learned
    if but is ALL and not forget and learner.learned != expected:
        raise CommitError(f"commit {last} ends at {expected} samples; the learner has {learner.learned}")
    return commit.number


def check(learner: Learner, registry: Registry, first: int = 0, last: int | None = None) -> Rebuilt:
    """Rebuild the newest whole state (of commit `last` at most) from that of commit `first`, and compare the bits."""
    numbers = range(registry.last(COMMITS) if last is None else last, -1, -1)
    whole = next(commit for commit in (read(registry, n) for n in numbers) if commit.state is not None)
    begun = rebuild(learner, registry, whole.number, base=min(first, max(0, whole.number - 1)))
    digest = hashlib.sha256(pack_state(learner.state())).hexdigest()
    fingerprints = {read(registry, n).fingerprint for n in range(begun, whole.number + 1)}
    return Rebuilt(
        first=begun,
        last=whole.number,
        learned=learner.learned,
        kept=str(whole.state),
        rebuilt=digest,
        environments=sorted(fingerprints - {fingerprint()}),
    )
