"""A learner's state rebuilt from its commits, and compared with the one that was kept.

Owns where a rebuild begins, and the comparison. Does not know how a model learns.
"""

from collections.abc import Collection

from deploy.registry import states
from deploy.registry.commits import Rebuilt, read, walk
from deploy.registry.kinds import COMMITS, PIPELINES
from deploy.registry.records import Described
from deploy.registry.registry import Registry
from learners.commits.forget import without
from learners.commits.state import fingerprint, fold
from learners.commits.voids import ALL, Bounds, remaining
from learners.online.learner import Learner
from streams.errors import CommitError, RegistryError

AGAIN = "the pipeline has changed, and the log is being learned again"


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
    number. From there on the samples of the ids in `forget` are left out. States of before the log was learned again by
    another pipeline are none: that one's state of before the first sample takes the place of commit 0's.

    Raises:
        RegistryError, CommitError: a commit or state is missing, or they do not belong together.
    """
    after: list[tuple[int, Bounds]] = []
    turned = turn(registry)
    for commit, bounds in walk(registry, last, but):
        state = remaining(commit, bounds).state
        if turned and commit.number <= turned.commit:
            state = None if commit.number else turned.first
        kept = states.find(registry, state) if state and commit.number <= (last if base is None else base) else None
        if kept is not None:
            break
        after.append((commit.number, bounds))
    else:
        raise RegistryError(f"{registry.home} holds no commit with a whole state, from which learning could go on")
    learner.load(kept)
    left = (remaining(read(registry, n), bounds) for n, bounds in reversed(after))
    fold(learner, (without(commit, forget) for commit in left))
    expected = read(registry, last).learned
    if but is ALL and not forget and learner.learned != expected:
        raise CommitError(f"commit {last} ends at {expected} samples; the learner has {learner.learned}")
    return commit.number


def turn(registry: Registry) -> Described | None:
    """Return the pipeline by which the log was learned again last; None if it never was."""
    numbers = range(registry.last(PIPELINES), -1, -1)
    found = (registry.record(PIPELINES, number) for number in numbers)
    return next((one for one in found if one and one.first is not None), None)


def check(learner: Learner, registry: Registry, first: int = 0, last: int | None = None) -> Rebuilt:
    """Rebuild the newest whole state (of commit `last` at most) from that of commit `first`, and compare the bits."""
    numbers = range(registry.last(COMMITS) if last is None else last, -1, -1)
    turned = turn(registry)
    kept = (commit for commit in (read(registry, n) for n in numbers) if commit.state is not None)
    whole = next(kept)
    if turned and whole.number <= turned.commit:
        raise RegistryError(f"{AGAIN}; look again once its state is committed")
    begun = rebuild(learner, registry, whole.number, base=min(first, max(0, whole.number - 1)))
    digest = states.digest_of(registry, learner, str(whole.state))
    fingerprints = {read(registry, n).fingerprint for n in range(begun, whole.number + 1)}
    return Rebuilt(
        first=begun,
        last=whole.number,
        learned=learner.learned,
        kept=str(whole.state),
        rebuilt=digest,
        environments=sorted(fingerprints - {fingerprint()}),
    )
