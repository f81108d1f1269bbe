"""Drills: a copy of what serves that knows nothing, to see that the gate refuses it, or that the way back ends it.

Owns how that copy is made. Does not know how it is judged.
"""

import time
from pathlib import Path

import torch
from msgspec.structs import replace
from torch import nn

from compressors.answers import answers
from compressors.artifact import format as artifact
from compressors.artifact.manifest import finite
from compressors.compress import compress
from compressors.data import Data
from deploy.config import Settings
from deploy.learning.candidates import history
from deploy.operate.registry.sign import opened
from deploy.operate.versions.orders import give
from deploy.pipeline import Pipeline, load
from deploy.processes.failures import brief
from deploy.registry.candidates import add
from deploy.registry.commits import backwards, newest
from deploy.registry.kinds import CHAMPIONS, PIPELINES
from deploy.registry.records import Candidate, Figures
from deploy.registry.registry import Registry
from learners.evaluation.verdict import Kind
from streams.errors import ConfigError

WHO, WHY = "drill", "a drill: what serves, with its weights shuffled, and twice as sure"
ARITHMETIC = "quantize(int8)"
ROWS, GROWTH, MOST = 512, 1.25, 20  # newest rows; how fast weights grow, and how often


def drill(path: Path, settings: Settings, *, serve: bool, seed: int = 0) -> Candidate:
    """Make a candidate of what serves, its weights shuffled, and twice as sure; with `serve` it takes over at once.

    Raises:
        ConfigError: there are no rows to measure it on, what serves has other weights than the pipeline's model, or it
            cannot be quantized.
    """
    return shuffle(opened(path, settings), load(path), serve=serve, seed=seed)


def shuffle(registry: Registry, pipeline: Pipeline, *, serve: bool, seed: int = 0) -> Candidate:
    """Do so in a registry."""
    began_s, champion = time.perf_counter(), registry.record(CHAMPIONS, registry.last(CHAMPIONS))
    if champion is None:
        raise ConfigError(f"pipeline {pipeline.name!r} has no version to shuffle")
    served, rows, model = registry.get(champion.artifact), _rows(pipeline, registry), pipeline.model()
    try:
        model.load_state_dict(artifact.floats(served))
    except RuntimeError as wrong:
        raise ConfigError(f"v{champion.number} has other weights than the pipeline's model: {brief(wrong)}") from wrong
    made = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(weight.flatten()[torch.randperm(weight.numel(), generator=made)].reshape(weight.shape))
    _make_sure(model, 2 * _spread(artifact.load(served, pipeline.model), rows), rows)
    try:
        bad = compress(model, ARITHMETIC, rows, pipeline.task, factory=pipeline.model, seed=seed)
    except ValueError as wrong:
        raise ConfigError(f"v{champion.number} makes no drill: {brief(wrong)}") from wrong
    commit = next(backwards(registry))
    candidate = Candidate(
        number=-1,
        commit=commit.number,
        learned=commit.learned,
        at_ms=commit.watermark_ms,
        reason=WHY,
        artifact=registry.put(bad.artifact),
        figures=Figures(
            sparsity=bad.description.sparsity,
            artifact_bytes=bad.description.bytes,
            float_bytes=bad.description.float_bytes,
            parity_largest=finite(bad.parity.largest),
            parity_changed=finite(bad.parity.changed),
            loss=finite(bad.loss_after),
            teacher_loss=None,
            seconds=time.perf_counter() - began_s,
        ),
        engine="a drill",
        kind=Kind.OTHER,
        by=WHO,
        pipeline=max(0, registry.last(PIPELINES)),
    )
    candidate = replace(candidate, number=add(registry, candidate, bad.artifact))
    if serve:
        give(registry, "promote", WHY, WHO, candidate=candidate.number)
    return candidate


def _rows(pipeline: Pipeline, registry: Registry) -> Data:
    """Return the feed's newest samples, or the history where nothing was learned yet."""
    if samples := [one for commit in newest(backwards(registry), ROWS) for one in commit.read()]:
        return pipeline.encoder().data(samples, pipeline.task)
    if (past := history(pipeline)) is None:
        raise ConfigError(f"pipeline {pipeline.name!r} has neither samples nor a history")
    return past


def _make_sure(model: nn.Module, spread: float, rows: Data) -> None:
    """Let weights grow until the answers are so far apart: shuffled, a network hardly tells one row from another."""
    for _ in range(MOST):
        if _spread(model, rows) >= spread:
            return
        with torch.no_grad():
            for weight in model.parameters():
                weight.mul_(GROWTH)


def _spread(model: nn.Module, rows: Data) -> float:
    """Return how far the answers to the newest rows are apart."""
    return float(answers(model, rows.between(max(0, len(rows) - ROWS), len(rows)).rows).std())
