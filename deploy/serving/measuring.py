"""The choice of a serving engine, measured in a process of its own beside the server.

An export is seconds of Python that hold the interpreter's lock, and changes `nn.Module` for all threads while it
traces: in a thread of the server it let answers stand still for 0.2 to 0.4 s. A process of low priority disturbs
little, and can be killed at any moment (`deploy/embedded/child.py`). Owns that process and its folder. Does not know
when to measure.
"""

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import torch
from msgspec import Struct
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from compressors.artifact import format as artifact
from compressors.engines.engine import ENGINES, Run, Session
from compressors.engines.fastest import Fastest, fastest
from deploy.embedded.child import Child, serve
from deploy.pipeline import load
from deploy.registry.registry import Registry
from streams.errors import MeasuringError

MODULE = "deploy.serving.measuring"
NICENESS = 10
INPUTS, FOUND, LOG = "inputs.safetensors", "found.json", "log"


class Work(Struct, frozen=True, kw_only=True):
    """What is measured: the artifact by digest, batches of `rows`, on `threads`; `folder` has inputs, gets the rest."""

    pipeline: str
    registry: str
    artifact: str
    folder: str
    rows: tuple[int, ...]
    threads: int


class Found(Struct, frozen=True):
    """`chosen` and `refused` of a `Fastest`."""

    chosen: dict[int, str]
    refused: dict[str, str]


class Measuring:
    """One measurement of an artifact, made on its `inputs`, as the server sees it."""

    def __init__(
        self, pipeline: Path, registry: Path, rows: tuple[int, ...], digest: str, inputs: Sequence[Tensor]
    ) -> None:
        self._kept = TemporaryDirectory(prefix="shadowstream-")
        self._folder = Path(self._kept.name)
        save_file({str(n): t.contiguous() for n, t in enumerate(inputs)}, self._folder / INPUTS)
        work = Work(
            pipeline=str(pipeline),
            registry=str(registry),
            artifact=digest,
            folder=self._kept.name,
            rows=rows,
            threads=torch.get_num_threads(),
        )
        self._child = Child(MODULE, "measurement", work, self._folder / LOG)

    def ended(self) -> bool:
        """Tell whether there is something to take, a failure too."""
        return self._child.exit_code is not None

    def found(self, model: nn.Module) -> Fastest:
        """Give the choice for `model`, which is the artifact loaded, once it has ended.

        Raises:
            MeasuringError: there is none.
        """
        try:
            found = msgspec.json.decode((self._folder / FOUND).read_bytes(), type=Found)
        except FileNotFoundError:
            raise MeasuringError(str(self._child.error())) from None
        runs = {name: self._run(name, model) for name in found.chosen.values()}
        return Fastest(chosen=found.chosen, timings=(), refused=found.refused, runs=runs)

    def drop(self) -> None:
        """End the process and remove its folder."""
        self._child.kill()
        self._child.wait(0.0)
        self._kept.cleanup()

    def _run(self, name: str, model: nn.Module) -> Run:
        exported = _exported(self._folder, name)
        if exported.is_file():
            return Session(exported.read_bytes())
        made = {engine.name: engine.prepare for engine in ENGINES}
        return made[name](model, ()) if name in made else model


def measure(work: Work) -> None:
    """Choose, and leave what was found and the files of the engines that are ONNX in the folder."""
    os.nice(NICENESS)
    torch.set_num_threads(work.threads)
    folder = Path(work.folder)
    model = artifact.load(Registry(Path(work.registry)).get(work.artifact), load(Path(work.pipeline)).model)
    inputs = load_file(folder / INPUTS)
    best = fastest(model, [inputs[str(n)] for n in range(len(inputs))], work.rows)
    for name in set(best.chosen.values()):
        run = best.runs[name]
        if isinstance(run, Session):
            _exported(folder, name).write_bytes(run.data)
    whole = folder / "half"
    whole.write_bytes(msgspec.json.encode(Found(dict(best.chosen), dict(best.refused))))
    whole.rename(folder / FOUND)


def _exported(folder: Path, name: str) -> Path:
    return folder / f"{name}.onnx"


if __name__ == "__main__":
    sys.exit(serve(Work, measure, lambda work: shutil.rmtree(work.folder, ignore_errors=True)))
