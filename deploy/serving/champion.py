"""The champion: the highest `champion/n`, loaded and warm.

Owns loading and swapping. Does not know requests, or what an engine is. One version answers a whole micro-batch.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from compressors.artifact import format as artifact
from deploy.registry.kinds import CHAMPIONS
from deploy.registry.registry import Registry
from deploy.serving.engines import Engines
from learners.online.batches import Inputs
from streams.errors import RegistryError


class Served:
    """Follows the champion records; answers with the newest one, by torch or by what `engines` finds."""

    def __init__(self, registry: Registry, factory: Callable[[], nn.Module], engines: Engines | None = None) -> None:
        self._registry, self._factory, self._engines = registry, factory, engines
        self._load(registry.last(CHAMPIONS))

    def refresh(self) -> bool:
        """Swap to a newer champion, or to its engine, if there is one; call between batches."""
        newest = self._registry.last(CHAMPIONS, self.record.number)
        if newest == self.record.number:
            return self._engines is not None and self._engines.step()
        self._load(newest)
        return True

    def answer(self, inputs: Inputs) -> Tensor:
        """Give raw output plus the version's offset, shape (N, K)."""
        with torch.inference_mode():
            output: Tensor = self._engines.answer(inputs) if self._engines else self._model(*inputs)
        return output + self._offset

    @property
    def engines(self) -> tuple[str, ...]:
        """Say what runs this version, if engines are on."""
        return self._engines.told if self._engines else ()

    def _load(self, number: int) -> None:
        record = self._registry.record(CHAMPIONS, number)
        if record is None:
            raise RegistryError(f"{self._registry.folder} holds no champion: the feed was not created")
        self._model = artifact.load(self._registry.get(record.artifact), self._factory)
        if self._engines:
            self._engines.serve(number, record.artifact, self._model)
        self.record, self._offset = record, torch.tensor(record.offset)
