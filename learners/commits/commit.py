"""Commits: the learner's history, from which its state is a fold.

Owns the commit's contents and bytes, and the fold. Does not know where commits are kept. A commit holds the samples
since the one before in the order learned, the micro-batches' sizes, every other input, and the position that was read.
Which samples a later commit makes void is in `voids.py`.
"""

import platform
from collections.abc import Iterable, Mapping

import msgspec
import safetensors.torch
import torch
from msgspec import Raw, Struct
from torch import Tensor

from learners.online.learner import Learner
from streams.errors import CommitError
from streams.events import Sample, read_sample

FORMAT = 2


class Due(Struct, frozen=True):
    """An input beside the samples: a candidate is due, why, and since which event time."""

    reason: str
    at_ms: int


class Run(Struct, frozen=True, array_like=True):
    """`count` samples of one shard, learned one after the other, the first of which has the number `first` there."""

    shard: int
    first: int
    count: int


class Quarantined(Struct, frozen=True, kw_only=True):
    """A sample that could not be learned, and why; `sample` is the text that the join emitted."""

    shard: int
    position: str
    reason: str
    sample: str


class Commit(Struct, frozen=True, kw_only=True):
    """One step of the learner's history.

    `runs` say which samples these are; `shadow` holds the shadow's answer (K,) to each before it trained on it;
    `positions` the stream position of each shard; `latest_ms` the largest prediction time learned so far; `state` the
    digest of the whole state after this commit, where it is kept; `parent` the digest of the bytes of the commit
    before. `void` takes back what earlier commits hold of a shard behind a position: the store no longer had it.
    `learned` counts what is left.
    """

    format: int = FORMAT
    number: int
    parent: str
    learned: int
    samples: list[Raw]
    runs: list[Run]
    batches: list[int]
    shadow: list[list[float]]
    intercept: tuple[float, ...]
    positions: dict[str, str]
    watermark_ms: int
    latest_ms: int
    due: Due | None = None
    quarantined: list[Quarantined] = []
    void: dict[str, str] = {}
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


def fold(learner: Learner, commits: Iterable[Commit]) -> None:
    """Take commits in order: the same samples in the same micro-batches."""
    for commit in commits:
        samples, start = commit.read(), 0
        for size in commit.batches:
            learner.learn(samples[start : start + size])
            start += size


def pack_state(state: Mapping[str, Tensor]) -> bytes:
    """Give a state's bytes (safetensors); a tensor under two names, as a tied weight or its mask, is written twice."""
    last = {v.data_ptr(): k for k, v in state.items()}
    return safetensors.torch.save(
        {k: v.contiguous() if last[v.data_ptr()] == k else v.clone() for k, v in state.items()}
    )


def unpack_state(data: bytes) -> dict[str, Tensor]:
    """Read a state's bytes."""
    return safetensors.torch.load(data)
