"""A learner's whole states in the registry: where their bytes are, and whether two are the same.

Owns that what does not learn is kept once, in `frozen/`, for all states. Does not know when a state is written.
"""

import hashlib

from torch import Tensor

from deploy.registry.kinds import BLOBS, FROZEN
from deploy.registry.registry import Registry
from learners.commits.compact import pack, unpack
from learners.commits.state import pack_state
from learners.online.learner import Learner
from streams.errors import RegistryError


def put(registry: Registry, learner: Learner) -> tuple[str, bytes]:
    """Keep a learner's state; return its digest, which a commit is to name, and its bytes."""
    packed = pack(learner.state(), learner.frozen, lambda data: registry.put(data, FROZEN))
    return registry.put(packed), packed


def find(registry: Registry, digest: str) -> dict[str, Tensor] | None:
    """Return a state, None if it is not there.

    Raises:
        RegistryError: it is damaged, or what does not learn is missing.
        CommitError: it is of a newer release.
    """
    data = registry.find(digest)
    return None if data is None else unpack(data, lambda frozen: registry.get(frozen, FROZEN))


def get(registry: Registry, digest: str) -> dict[str, Tensor]:
    """Return a state.

    Raises:
        RegistryError: it is missing, or as `find`.
    """
    found = find(registry, digest)
    if found is None:
        raise RegistryError(f"{registry.home.of(BLOBS)}/{digest} is missing")
    return found


def digest_of(registry: Registry, learner: Learner, kept: str) -> str:
    """Return the digest of a learner's state; `kept`, where that state is the same, in whatever form it is kept."""
    state = learner.state()
    forms = pack(state, learner.frozen, _sha), pack_state(state)  # the second is that of older releases
    if kept in (digests := [*map(_sha, forms)]):
        return kept
    then = find(registry, kept)  # another version of zstd has written it, perhaps
    return kept if then is not None and pack(then) == pack(state) else digests[0]


def _sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
