"""Commits: the learner's history. Learned again in their order, they make the same state, bit for bit.

A commit holds what was learned since the one before: the samples in the order learned, the sizes of the micro-batches,
every other input, and the position reached in each shard. `voids.py` says what a later commit takes back. Owns a
commit's contents and bytes, and learning it again. Does not know where commits are kept.
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

FORMAT = 3


class Due(Struct, frozen=True):
    """Why a candidate is to be made of the state after this commit, and the event time at which that was due."""

    reason: str
    at_ms: int


class Run(Struct, frozen=True, array_like=True):
    """`count` samples of one shard, learned one after the other: their numbers there are `first` and those after it."""

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
    """What the learner learned since the commit before, and how far it had read.

    `parent`: the digest of the bytes of the commit before.
    `samples`, `runs`: the samples in the order learned, each a `Sample` as JSON, and which ones they are.
    `batches`: the number of samples of each micro-batch.
    `shadow`: the shadow's answer (K,) to each sample before it trained on it.
    `intercept`: the live intercept (K,) after the last sample.
    `positions`: by shard, the position in its stream of the last sample that was read.
    `watermark_ms`, `latest_ms`: the join's watermark, and the newest prediction learned so far, both in event time.
    `void`: by shard, a position after which the samples of earlier commits are taken back: the store had lost them.
    `learned`: the number of samples of all commits so far, without those taken back.
    `state`: the digest of the whole state after this commit, where it is kept.
    `scale`: the mean and spread of a regression's labels so far, by which losses are measured.
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
    scale: tuple[float, float] | None = None

    def read(self) -> list[Sample]:
        """Return the samples, decoded."""
        return [read_sample(bytes(raw)) for raw in self.samples]


def fingerprint() -> str:
    """Return the name of this environment. The same commits make the same bits where it is the same."""
    threads, cpu = torch.get_num_threads(), torch.backends.cpu.get_cpu_capability()
    return (
        f"torch {torch.__version__}, Python {platform.python_version()}, {platform.machine()} {cpu}, {threads} threads"
    )


_encoder, _decoder = msgspec.json.Encoder(), msgspec.json.Decoder(Commit)


def encode(commit: Commit) -> bytes:
    """Return the commit's bytes (JSON)."""
    return _encoder.encode(commit)


def decode(data: bytes) -> Commit:
    """Return the commit that `encode` made the bytes of.

    Raises:
        CommitError: the bytes are not a commit, or have another format.
    """
    try:
        commit = _decoder.decode(data)
    except msgspec.DecodeError as wrong:
        raise CommitError(f"not a commit: {wrong}") from None
    if commit.format != FORMAT:
        raise CommitError(
            f"commit {commit.number} has format {commit.format}; this version reads {FORMAT}: go on with the version "
            "that made it, or begin a new feed"
        )
    return commit


def fold(learner: Learner, commits: Iterable[Commit]) -> None:
    """Learn commits in their order: the same samples in the same micro-batches."""
    for commit in commits:
        samples, start = commit.read(), 0
        for size in commit.batches:
            learner.learn(samples[start : start + size])
            start += size


def pack_state(state: Mapping[str, Tensor]) -> bytes:
    """Return a state's bytes (safetensors). Tensors that share memory are written apart."""
    last = {v.untyped_storage().data_ptr(): k for k, v in state.items()}
    return safetensors.torch.save(
        {k: v.contiguous() if last[v.untyped_storage().data_ptr()] == k else v.clone() for k, v in state.items()}
    )


def unpack_state(data: bytes) -> dict[str, Tensor]:
    """Return the state that `pack_state` made the bytes of."""
    return safetensors.torch.load(data)
