"""Commits for tests: empty ones, ones that follow what a registry has, and a record that somebody has changed."""

from hashlib import sha256
from typing import Any

import msgspec

from deploy.registry.commits import read
from deploy.registry.kinds import COMMITS
from deploy.registry.log import frames
from deploy.registry.registry import Registry
from learners.commits.commit import Commit, encode


def empty(number: int, parent: str = "", **more: Any) -> Commit:
    """Return a commit without a sample."""
    fields: dict[str, Any] = {
        "learned": 0, "samples": [], "runs": [], "batches": [], "shadow": [], "intercept": (0.0,), "positions": {},
        "watermark_ms": 0, "latest_ms": 0, "fingerprint": "",
    }  # fmt: skip
    return Commit(number=number, parent=parent, **(fields | more))


def digest(data: bytes | None) -> str:
    """Return by which digest the next commit names one."""
    return sha256(data or b"").hexdigest()


def append(registry: Registry, commit: Commit) -> None:
    """Create a commit that names the one before it."""
    parent = digest(registry.read(COMMITS, commit.number - 1)) if commit.number else ""
    assert registry.create(COMMITS, commit.number, msgspec.structs.replace(commit, parent=parent))


def forge(registry: Registry, commit: Commit) -> Registry:
    """Put a commit in the place of one, have those after it name it, and return the registry as it is read then."""
    parent, last = commit.parent, registry.last(COMMITS)
    for n in range(commit.number, last + 1):
        kept = commit if n == commit.number else read(Registry(registry.folder), n)
        line = encode(msgspec.structs.replace(kept, parent=parent))
        (registry.folder / registry.place(COMMITS, n)).write_bytes(frames.pack(line, frames.FAST))
        parent = digest(line)
    return Registry(registry.folder)
