"""Whether a pipeline that has changed can go on with what was learned: asked of the log, the state and the artifacts.

Owns these three questions. What is another in the pipeline itself is `compare.py`'s.
"""

from contextlib import suppress
from itertools import islice
from typing import NamedTuple

import torch

from compressors.answers import answers
from compressors.artifact.parity import parity_of
from compressors.errors import ArtifactError
from compressors.rows import Collated
from deploy.learning.candidates import make_learner
from deploy.lineages import Lineages
from deploy.pipeline import Pipeline
from deploy.registry.commits import backwards, walk
from deploy.registry.kinds import CHAMPIONS
from deploy.registry.rebuild import NONE
from deploy.registry.records import Champion
from deploy.registry.registry import Registry
from deploy.registry.states.kept import Kept
from streams.errors import ConfigError, MalformedEvent, RegistryError
from streams.events import Sample

ROWS = 256  # that what serves answers again
MEAN = 5e-3  # of the difference, as a share of the largest answer: other cuts and processors round otherwise


class Again(NamedTuple):
    """What version `version` answers today to `rows` of the log's newest samples; `apart` says how it differs."""

    rows: int
    version: int
    apart: str | None


def unreadable(pipeline: Pipeline, registry: Registry) -> tuple[int, str | None]:
    """Return how many rows of the log, newest first, were read as the features of today, and why the next was not.

    Live experts, slices and trust read the rows too, by their fields alone: what can be decoded can be read.
    """
    decode, count = pipeline.encoder().decode, 0
    for commit in backwards(registry):
        for entry in commit.entries():
            try:
                decode(entry.prediction.features)
            except MalformedEvent as wrong:
                return count, f"{entry.id}: {wrong}"
            count += 1
    return count, None


def unfit(pipeline: Pipeline, registry: Registry) -> str | None:
    """Return why the newest state that is kept cannot be gone on with; None if it can."""
    kept = Kept(registry)
    state = next((found for commit, _ in walk(registry, None) if (found := kept.of(commit)) is not None), None)
    if state is None:
        raise RegistryError(NONE.format(registry.home))
    learner = make_learner(pipeline, registry)
    try:
        learner.load(state)
    except (ConfigError, ValueError, KeyError, RuntimeError) as wrong:
        return f"no {wrong} in it" if isinstance(wrong, KeyError) else str(wrong).partition(";")[0]
    return None


def again(pipeline: Pipeline, registry: Registry, *, engines: bool) -> Again:
    """Let the version of this lineage that answered most of the newest samples answer them again, and compare."""
    lineages, versions = Lineages(pipeline, registry, engines=engines), dict[int, Champion | None]()
    samples = _newest(registry)
    for version in {one.prediction.version for one in samples}:
        with suppress(RegistryError):
            versions[version] = registry.record(CHAMPIONS, version)
    own = [one for one in samples if (by := versions.get(one.prediction.version)) is None or lineages.today(by)]
    if not own:
        return Again(0, -1, None)
    version = max({one.prediction.version for one in own}, key=[one.prediction.version for one in own].count)
    own = [one for one in own if one.prediction.version == version]
    champion, encoder = versions.get(version), pipeline.encoder()
    if champion is None:
        return Again(len(own), version, f"there is no version {version} that can be loaded, which answered {own[0].id}")
    try:
        running = lineages.load(champion)
        made = answers(running, Collated(encoder.decoded(own), encoder.encode))
    except (ArtifactError, RegistryError, MalformedEvent) as wrong:
        return Again(len(own), version, str(wrong).partition(";")[0])
    said, offset = _said(own), torch.tensor(champion.offset, dtype=torch.float64)
    if made.shape != said.shape:
        return Again(len(own), version, f"it answers {tuple(made.shape)} where it answered {tuple(said.shape)}")
    return Again(len(own), version, parity_of(said, made.double() + offset).refusal(MEAN, "what it said and says now"))


def _newest(registry: Registry) -> list[Sample]:
    found = (sample for commit in backwards(registry) for sample in reversed(commit.read()))
    return list(islice(found, ROWS))


def _said(samples: list[Sample]) -> torch.Tensor:
    return torch.tensor([one.prediction.output for one in samples], dtype=torch.float64)
