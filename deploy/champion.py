"""The champion: the highest `champion/n`, loaded and warm.

Owns loading and swapping. Does not know requests. One version answers a whole micro-batch.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from compressors import artifact
from deploy.records import Champion
from deploy.registry import Registry, RegistryError
from learners.batches import Inputs


class Served:
    """Follows the champion records; answers with the newest one."""

    def __init__(self, registry: Registry, factory: Callable[[], nn.Module]) -> None:
        self._registry, self._factory = registry, factory
        self._load(registry.last("champion"))

    def refresh(self) -> bool:
        """Swap to a newer champion if there is one; call between batches."""
        newest = self._registry.last("champion", self.record.number)
        if newest == self.record.number:
            return False
        self._load(newest)
        return True

    def answer(self, inputs: Inputs) -> Tensor:
        """Give raw output plus the version's offset, shape (N, K)."""
        with torch.inference_mode():
            output: Tensor = self._model(*inputs)
        return output + self._offset

    def _load(self, number: int) -> None:
        record = self._registry.record("champion", number, Champion)
        if record is None:
            raise RegistryError(f"{self._registry.folder} holds no champion: the feed was not created")
        self._model = artifact.load(self._registry.get(record.artifact), self._factory)
        self.record, self._offset = record, torch.tensor(record.offset)
