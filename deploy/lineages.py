"""Lineages: which pipeline a version is asked by. One of before the model became another has its own code, kept.

A pipeline's file, and the modules beside it, are kept in the registry at each start at which it had changed. Owns
finding a version's, and loading that version with it. Does not know what has changed, or who asks.
"""

import msgspec

from deploy.engine import Running, load
from deploy.loading import left
from deploy.pipeline import Pipeline
from deploy.pipeline import load as load_pipeline
from deploy.registry import storage
from deploy.registry.kinds import CANDIDATES, PIPELINES
from deploy.registry.records import Candidate, Champion, Described
from deploy.registry.registry import Registry
from streams.errors import RegistryError

FOLDER = "lineages"  # in the registry's: the kept files, unpacked


class Lineages:
    """A feed's pipelines: today's, and those by which earlier versions are asked."""

    def __init__(self, pipeline: Pipeline, registry: Registry, *, engines: bool = True) -> None:
        """With `engines`, a version is run by the engine for which it was proven."""
        self._pipeline, self._registry, self._engines = pipeline, registry, engines
        self._kept: dict[int, Pipeline] = {}
        described = list(registry.records(PIPELINES))
        self._begun = [one.number for one in described if one.lineage]
        self.newest = len(described) - 1

    def today(self, made: Champion | Candidate) -> bool:
        """Return whether a version or candidate is of today's lineage."""
        return self._last(made) is None

    def of(self, made: Champion | Candidate) -> Pipeline:
        """Return the pipeline by which a version or candidate is asked.

        Raises:
            RegistryError: its code was not kept.
            ConfigError: that code does not load any more.
        """
        number = self._last(made)
        if number is None:
            return self._pipeline
        if number not in self._kept:
            self._kept[number] = kept(self._registry, self._registry.record(PIPELINES, number))
        return self._kept[number]

    def load(self, made: Champion | Candidate) -> Running:
        """Load what runs a version or candidate; one of an earlier lineage has its own `encoder`.

        Raises:
            RegistryError, ArtifactError, ConfigError: it, its artifact or its code is missing or does not fit.
        """
        pipeline = self.of(made)
        running = load(self._registry, made.artifact, made.engine, pipeline.model, engines=self._engines)
        running.encoder = None if pipeline is self._pipeline else pipeline.encoder()
        return running

    def _last(self, made: Champion | Candidate) -> int | None:
        """Return the last pipeline of an earlier lineage; None for today's."""
        number = self._made_by(made)
        after = next((begun for begun in self._begun if begun > number), None)
        return None if after is None else after - 1

    def _made_by(self, made: Champion | Candidate) -> int:
        if isinstance(made, Candidate):
            return made.pipeline
        candidate = None if made.candidate is None else self._registry.record(CANDIDATES, made.candidate)
        return candidate.pipeline if candidate else 0


def kept(registry: Registry, described: Described | None) -> Pipeline:
    """Return the pipeline of before, from its kept code.

    Raises:
        RegistryError: its code was not kept.
        ConfigError: it does not load.
    """
    if described is None or described.code is None:
        raise RegistryError("the code of the pipeline of before was not kept")
    files = msgspec.json.decode(registry.get(described.code), type=dict[str, str])
    folder = (registry.folder / FOLDER / f"{described.number:08}").resolve()
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if storage.read(path) != text.encode():
            path.unlink(missing_ok=True)
            storage.create(path, text.encode())
    with left():
        return load_pipeline(folder / next(iter(files)))


def keep(registry: Registry, files: dict[str, str]) -> str | None:
    """Keep a pipeline's code: its files' texts by their names, its own first; return the digest."""
    return registry.put(msgspec.json.encode(files)) if files else None
