"""Engines in serving: a version is served by torch at once, and by the fastest engine that agrees once it is measured.

Owns when a version is measured, on which rows, and when what was found takes over. Does not know how it is measured.
"""

import logging
from collections.abc import Callable
from typing import Protocol

from torch import Tensor, nn

from compressors.engines.engine import Run
from compressors.engines.fastest import Fastest
from learners.online.batches import Inputs, join

SIZES = (1, 8, 64, 512)
LEAST_ROWS = 64  # a proof that answers agree on fewer says little
MOST_TOLD = 200  # characters of a reason; an exporter's can be pages


class Measurement(Protocol):
    """A measurement that is under way or over."""

    def ended(self) -> bool:
        """Tell whether there is something to take."""
        ...

    def found(self, model: nn.Module) -> Fastest:
        """Give the choice for the model, or raise what went wrong."""
        ...

    def drop(self) -> None:
        """End it, and remove what it left."""
        ...


def sizes(most: int) -> tuple[int, ...]:
    """Give the batch sizes to measure where a batch has `most` rows at most."""
    return tuple(sorted({min(n, most) for n in SIZES}))


class Engines:
    """What runs the served version. `measure` begins the measurement of an artifact, by digest, on rows of inputs."""

    def __init__(self, measure: Callable[[str, Inputs], Measurement]) -> None:
        self._measure = measure
        self._measuring: Measurement | None = None
        self._said: set[str] = set()
        self._log = logging.getLogger("shadowstream")

    def serve(self, version: int, artifact: str, model: nn.Module) -> None:
        """Answer by another version's model; what is measured of the one before is dropped."""
        self.close()
        self._version, self._artifact, self._model = version, artifact, model
        self._run: Run = model
        self._asked: list[Inputs] | None = []
        self.told: tuple[str, ...] = (f"v{version} by torch, until {LEAST_ROWS} rows are requested",)

    def answer(self, inputs: Inputs) -> Tensor:
        """Give raw output (N, K). Where an engine fails, now or later, the model answers from then on."""
        if self._asked is not None:
            self._asked.append(inputs)
        if self._run is not self._model:
            try:
                return self._run(*inputs)
            except Exception as wrong:  # noqa: BLE001 onnxruntime's errors have no base of their own
                self._torch_goes_on(wrong)
        output: Tensor = self._model(*inputs)
        return output

    def step(self) -> bool:
        """Begin to measure, or take over what was measured; call between batches. Returns whether `told` is new."""
        try:
            if self._asked is not None and sum(len(inputs[0]) for inputs in self._asked) >= LEAST_ROWS:
                self._begin(self._asked)
            elif self._measuring is not None and self._measuring.ended():
                self._take(self._measuring.found(self._model))
                self.close()
            else:
                return False
        except Exception as wrong:  # noqa: BLE001 whatever fails beside it, serving goes on
            self.close()
            self._torch_goes_on(wrong)
        return True

    def close(self) -> None:
        """Drop a measurement that is under way."""
        if self._measuring is not None:
            self._measuring.drop()
            self._measuring = None

    def _begin(self, asked: list[Inputs]) -> None:
        self._asked = None
        self._measuring = self._measure(self._artifact, join(asked))
        self.told = (f"v{self._version} by torch; engines are being measured",)

    def _take(self, found: Fastest) -> None:
        self._run = found
        names = {name: [str(n) for n, own in found.chosen.items() if own == name] for name in found.chosen.values()}
        chosen = "; ".join(f"{name} for {', '.join(rows)}" for name, rows in names.items())
        refused = {name.split(" at ")[0]: _line(f"refused: {name}: {why}") for name, why in found.refused.items()}
        self.told = (f"v{self._version}, by rows: {chosen}", *refused.values())
        self._say(self.told[0])
        for name, why in found.refused.items():
            self._say(f"engine {name} is refused: {why}")

    def _torch_goes_on(self, wrong: Exception) -> None:
        self._run = self._model
        self.told = (_line(f"v{self._version} by torch, its engines failed: {type(wrong).__name__}: {wrong}"),)
        self._say(self.told[0])

    def _say(self, line: str) -> None:
        """Log what was not said before: what is not installed is so for each version."""
        if line not in self._said:
            self._said.add(line)
            self._log.warning("server: %s", line)


def _line(text: str) -> str:
    return text.partition("\n")[0][:MOST_TOLD]
