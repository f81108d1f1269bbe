"""The distiller role: makes the candidates that commits say are due: teacher → student → int8 artifact → parity.

Owns the replay, a fold over commits, and the making of a candidate. Does not judge it.
"""

import copy
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from compressors.artifact import format as artifact
from compressors.artifact.manifest import measured, name_of, versions
from compressors.artifact.parity import parity
from compressors.compress import bytes_of, carry_out, warn_of_emptied
from compressors.data import Data
from deploy.pipeline import Pipeline
from deploy.registry.history import backwards
from deploy.registry.kinds import CANDIDATES, COMMITS, DISTILLER
from deploy.registry.records import Candidate, DistillerNote, Figures
from deploy.registry.registry import Registry
from learners.commits import commit as commits
from learners.commits.commit import Commit
from learners.online.batches import Encoder, Inputs, join, labels
from learners.online.learner import Learner
from streams.join.store import Store


def make_learner(pipeline: Pipeline) -> Learner:
    """Make the pipeline's untrained learner; its state is then loaded or learned."""
    encoder = Encoder(pipeline.features, pipeline.encode)
    return Learner(pipeline.model, pipeline.task, encoder, pipeline.recipe, pipeline.online, pipeline.seed)


def provenance(pipeline: Pipeline, model: nn.Module) -> dict[str, Any]:
    """Give what an artifact of the pipeline's model says of itself before anything is measured."""
    told = {"pipeline": pipeline.name, "recipe": pipeline.recipe.to_dict(), "versions": versions(model)}
    return told | name_of(pipeline.model) | {"arguments": {}}


def compress(
    pipeline: Pipeline, student: nn.Module, teacher: nn.Module, data: Data, shapes: Mapping[str, Any]
) -> tuple[bytes, Figures, str | None]:
    """Distil the teacher into the student (training form) and convert it; gives artifact, figures, and any refusal.

    `shapes` is what the learner says of the student's; its units are removed already.
    """
    began = time.perf_counter()
    replay, held = data.split()
    carry_out(student, pipeline.recipe.split()[1], replay, pipeline.task, teacher=teacher, seed=pipeline.seed)
    packed = artifact.pack(student, {}, shapes=shapes, float_bytes=bytes_of(teacher) if shapes else None)
    served = artifact.load(packed, pipeline.model)
    agreement = parity(student, served, held.inputs)
    with torch.inference_mode():
        before, after = (pipeline.task.losses(m(*held.inputs), held.labels) for m in (teacher.eval(), served))
    packed = artifact.with_manifest(packed, provenance(pipeline, teacher) | measured(agreement, before, after))
    figures = artifact.describe(packed)
    warn_of_emptied(pipeline.recipe, figures)
    return (
        packed,
        Figures(
            sparsity=figures.sparsity,
            artifact_bytes=figures.bytes,
            float_bytes=figures.float_bytes,
            parity_largest=agreement.largest,
            parity_changed=agreement.changed,
            loss=float(after.mean()),
            teacher_loss=float(before.mean()),
            seconds=time.perf_counter() - began,
        ),
        agreement.refusal(),
    )


class DistillerRole:
    """Follows the commits and makes one candidate for each that is due."""

    def __init__(self, pipeline: Pipeline, store: Store, registry: Registry) -> None:
        self._pipeline, self._store, self._registry = pipeline, store, registry
        self._learner = make_learner(pipeline)
        self._encoder = Encoder(pipeline.features, pipeline.encode)
        self._replay: deque[tuple[Inputs, Tensor]] = deque()
        self._commit, self._candidate = -1, registry.last(CANDIDATES)

    def step(self, block_ms: int) -> bool:
        """Take the next commit, if there is one."""
        commit = self._registry.record(COMMITS, self._commit + 1)
        if commit is None:
            time.sleep(block_ms / 1000)
            return False
        if commit.void:
            self._remember_again(commit.number)
        else:
            self._remember(commit)
        if commit.due is not None:
            self._make(commit)
        self._commit = commit.number
        self._store.put(self._pipeline.name, DISTILLER.entry(DistillerNote(self._commit, self._candidate)))
        return True

    def _remember_again(self, last: int) -> None:
        """Take the newest samples up to a commit that made others void."""
        found: list[Commit] = []
        for commit in backwards(self._registry, last):
            found.append(commit)
            if sum(len(one.samples) for one in found) >= self._pipeline.online.replay:
                break
        self._replay.clear()
        for commit in reversed(found):
            self._remember(commit)

    def _remember(self, commit: Commit) -> None:
        samples = commit.read()
        if samples:
            self._replay.append((self._encoder.inputs(samples), labels(samples)))
        size = sum(len(target) for _, target in self._replay)
        while self._replay and size - len(self._replay[0][1]) >= self._pipeline.online.replay:
            size -= len(self._replay.popleft()[1])

    def _make(self, commit: Commit) -> None:
        if any(made.commit == commit.number for made in self._registry.records(CANDIDATES)):
            return
        self._learner.load(commits.unpack_state(self._registry.get(str(commit.state))))
        data = Data(join([x for x, _ in self._replay]), torch.cat([y for _, y in self._replay]))
        student = copy.deepcopy(self._learner.shadow.mean).requires_grad_(True)
        packed, figures, refused = compress(
            self._pipeline, student, self._learner.teacher.mean, data, self._learner.shapes
        )
        candidate = Candidate(
            number=self._candidate + 1,
            commit=commit.number,
            learned=commit.learned,
            at_ms=commit.watermark_ms,
            reason=commit.due.reason if commit.due else "",
            artifact=self._registry.put(packed),
            figures=figures,
            refused=refused,
        )
        if self._registry.create(CANDIDATES, candidate.number, candidate):
            self._candidate = candidate.number
