"""Commits: the learner's history, from which its state is a fold.

Owns the commit's contents and bytes, and the fold. Does not know where commits are kept. A commit holds the samples
since the one before in the order learned, the micro-batches' sizes, every other input, and the position that was read.
"""

import platform
from collections.abc import Mapping

import msgspec
import safetensors.torch
import torch
from msgspec import Raw, Struct
from torch import Tensor

from learners.online import Learner
from streams.errors import ShadowstreamError
from streams.events import Sample, read_sample

FORMAT = 1


class CommitError(ShadowstreamError):
    """A commit that cannot be read, or that does not follow the one before it."""


class Due(Struct, frozen=True):
    """An input beside the samples: a candidate is due, why, and since which event time."""

    reason: str
    at_ms: int


class Commit(Struct, frozen=True, kw_only=True):
    """One step of the learner's history.

    `shadow` holds the shadow's answer (K,) to each sample before it trained on it; `positions` the stream position of
    each shard; `latest_ms` the largest prediction time learned so far; `state` the digest of the whole state after this
    commit, where it is kept; `parent` the digest of the bytes of the commit before.
    """

    format: int = FORMAT
    number: int
    parent: str
    learned: int
    samples: list[Raw]
    batches: list[int]
    shadow: list[list[float]]
    intercept: tuple[float, ...]
    positions: dict[str, str]
    watermark_ms: int
    latest_ms: int
    due: Due | None = None
    fingerprint: str
    state: str | None = None

    def read(self) -> list[Sample]:
        """Decode the samples."""
        return [read_sample(bytes(raw)) for raw in self.samples]


def fingerprint() -> str:
    """Name the environment: bits are promised equal for an equal fingerprint."""
    threads, cpu = torch.get_num_threads(), torch.backends.cpu.get_cpu_capability()
    return (
        f"torch {torch.__version__}, Python {platform.python_version()}, {platform.machine()} {cpu}, {threads} threads"
    )


_encoder, _decoder = msgspec.json.Encoder(), msgspec.json.Decoder(Commit)


def encode(commit: Commit) -> bytes:
    """Give the commit's bytes."""
    return _encoder.encode(commit)


def decode(data: bytes) -> Commit:
    """Read a commit.

    Raises:
        CommitError: the bytes are not a commit, or of a newer format.
    """
    try:
        commit = _decoder.decode(data)
    except msgspec.DecodeError as wrong:
        raise CommitError(f"not a commit: {wrong}") from None
    if commit.format > FORMAT:
        raise CommitError(f"commit {commit.number} has format {commit.format}; this version reads up to {FORMAT}")
    return commit


def fold(learner: Learner, commit: Commit) -> None:
    """Take one commit: the same samples in the same micro-batches.

    Raises:
        CommitError: the learner does not stand where the commit begins.
    """
    if learner.learned != commit.learned - len(commit.samples):
        raise CommitError(f"commit {commit.number} ends at {commit.learned} samples; the learner has {learner.learned}")
    samples, start = commit.read(), 0
    for size in commit.batches:
        learner.learn(samples[start : start + size])
        start += size


def pack_state(state: Mapping[str, Tensor]) -> bytes:
    """Give a state's bytes (safetensors)."""
    return safetensors.torch.save({k: v.contiguous() for k, v in state.items()})


def unpack_state(data: bytes) -> dict[str, Tensor]:
    """Read a state's bytes."""
    return safetensors.torch.load(data)
