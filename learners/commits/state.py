"""The state that commits lead to: learned again from them, and its bytes.

Owns these, and the name of the environment in which they are the same bits. Does not know where commits are kept.
"""

import platform
from collections.abc import Iterable, Mapping
from importlib.metadata import version

import safetensors.torch
import torch
from torch import Tensor

from learners.commits.commit import Commit
from learners.online.learner import Learner

NUMBA = version("numba")  # which takes a millisecond to ask


def fingerprint() -> str:
    """Return the name of this environment. The same commits make the same bits where it is the same."""
    threads, cpu = torch.get_num_threads(), torch.backends.cpu.get_cpu_capability()
    return (
        f"torch {torch.__version__}, numba {NUMBA}, Python {platform.python_version()}, "
        f"{platform.machine()} {cpu}, {threads} threads"
    )


def fold(learner: Learner, commits: Iterable[Commit]) -> None:
    """Learn commits in their order: the same samples in the same micro-batches."""
    for commit in commits:
        if commit.doubted and learner.trust:
            learner.trust.settle()
        for ruling in commit.rulings:
            learner.rule(ruling.source, ruling.said)
        samples, start = commit.entries(), 0
        for size in commit.batches:
            part, held = samples[start : start + size], commit.holds(start, start + size)
            if start >= commit.released:
                learner.sift(part)
            learner.learn(part, held)
            start += size
        if commit.asked:
            learner.count(*commit.asked)
        if commit.heard_ms >= 0:
            learner.hear(commit.heard_ms)
        if commit.due and commit.due.since_ms is not None:
            learner.drifted(commit.due.since_ms)


def pack_state(state: Mapping[str, Tensor]) -> bytes:
    """Return a state's bytes (safetensors). Tensors that share memory are written apart."""
    last = {v.untyped_storage().data_ptr(): k for k, v in state.items()}
    return safetensors.torch.save(
        {k: v.contiguous() if last[v.untyped_storage().data_ptr()] == k else v.clone() for k, v in state.items()}
    )


def unpack_state(data: bytes) -> dict[str, Tensor]:
    """Return the state that `pack_state` made the bytes of."""
    return safetensors.torch.load(data)
