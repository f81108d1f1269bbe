"""Compressed models beside the same ones in float32 torch, torchao and ONNX Runtime int8: speed, bytes, quality.

Owns the contenders and the tables. `python -m benchmarks.compressors flights digits mails`, on one thread. What is not
installed is skipped, and listed below the table. MiniLM (`mails`) takes half an hour to train and compress: `--kept
FOLDER` keeps weights and artifacts, and a later run with that folder only measures.
"""

import argparse
import copy
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from safetensors.torch import load_model, save, save_model
from torch import Tensor, nn

from benchmarks.engines import any_answer
from compressors.artifact.format import load
from compressors.compress import compress
from compressors.data import Data as Rows
from compressors.engines.engine import ENGINES, ONNX, Engine, FloatLinear, Run, Session
from compressors.engines.fastest import Fastest, fastest
from compressors.engines.onnx import export_onnx
from compressors.quantization.int8 import substitute
from compressors.recipe import Recipe
from examples.compress import images, models
from learners.tasks.binary import Binary
from learners.tasks.classes import Classes
from learners.tasks.task import Task

FLOAT = "float32 torch"
SAMPLES = 128


@dataclass(frozen=True)
class Case:
    """A model, its data and task, how it is trained, and the recipe by which it is compressed."""

    make: Callable[[], nn.Module]
    data: Callable[[], models.Data]
    task: Task
    passes: int
    learning_rate: float
    recipe: str
    split: Callable[[models.Data], tuple[models.Data, models.Data]] = models.Data.split


CASES = {
    "flights": Case(
        models.flights_net, models.flights, Binary(), 3, 1e-3,
        "prune_structured(amount=0.5) -> retrain(passes=2) -> prune(amount=0.6) -> quantize(int8) -> distill(passes=2)",
    ),
    "digits": Case(
        images.CNN, lambda: models.Data(images.digits().inputs, images.digits().labels), Classes(10), 10, 3e-3,
        "prune(amount=0.6) -> quantize(int8) -> distill(passes=6, batch=64)",
    ),
    "mails": Case(
        models.minilm, models.mails, Classes(2), 2, 5e-5,
        "prune_structured(amount=0.5)"
        " -> distill(passes=2, batch=32, learning_rate=0.00005, temperature=2, schedule=cosine)"
        " -> prune(amount=0.35, scope=lamp, layers=(linear, embedding))"
        " -> distill(passes=1, batch=32, learning_rate=0.00005, temperature=2, schedule=cosine)"
        " -> quantize(int8)",
        models.Data.every_fifth,  # the last fifth has 4 % spam, not 28 %: a split by time would measure drift
    ),
}  # fmt: skip


def main() -> None:
    """Measure; print tables for people, then one JSON line for programs."""
    arguments = _arguments()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as nowhere:
        kept = arguments.kept or Path(nowhere)
        kept.mkdir(parents=True, exist_ok=True)
        results = {
            name: measure(
                name, Recipe.parse(arguments.recipe or CASES[name].recipe), arguments.rows, arguments.seconds, kept
            )
            for name in arguments.models
        }
    for name, one in results.items():
        _show(name, one, arguments.rows)
    print(json.dumps({"benchmark": "compressors", "models": results}))


def measure(name: str, recipe: Recipe, rows: Sequence[int], seconds: float, kept: Path) -> dict[str, Any]:
    """Train, compress and time one case."""
    case = CASES[name]
    early, late = case.split(case.data())
    stem = kept / name
    plain, artifact = _made(
        case, recipe, early, stem.with_suffix(".float"), stem.with_suffix(f".{recipe.digest()[:8]}")
    )
    ours = load(artifact, case.make)
    inputs = tuple(t[:SAMPLES] for t in late.inputs)
    theirs = contenders(plain, ours)
    times = fastest(
        ours, inputs, rows, engines=[*theirs, *ENGINES], seconds=seconds, allowed=any_answer, clock=time.thread_time
    )
    alike = fastest(ours, inputs, rows[:1], seconds=0.01)  # which of our engines agree with the artifact
    agreeing = [name for name in alike.runs if f"{name} at {rows[0]} rows" not in alike.refused]
    return {
        "recipe": str(recipe),
        "us": _us(times, [one.name for one in theirs], agreeing),
        "bytes": {"artifact": len(artifact), "float32": len(save(dict(plain.state_dict())))},
        "accuracy": {
            "artifact": models.accuracy(models.answers(ours, late), late.labels),
            **{name: _accuracy(run, late) for name, run in times.runs.items() if name in {one.name for one in theirs}},
        },
        "left_out": dict(times.refused) | dict(alike.refused),
    }


def _made(case: Case, recipe: Recipe, early: models.Data, weights: Path, artifact: Path) -> tuple[nn.Module, bytes]:
    """Return the trained plain model and the artifact made of it, read from their files where these exist."""
    torch.manual_seed(0)
    plain = case.make()
    if weights.exists():
        load_model(plain, weights)
    else:
        models.fit(plain, early, passes=case.passes, learning_rate=case.learning_rate)
        save_model(plain, str(weights))
    if not artifact.exists():
        known = Rows(early.inputs, early.labels.float())
        artifact.write_bytes(compress(plain, recipe, known, case.task, progress=_progress).artifact)
    return plain.eval().requires_grad_(False), artifact.read_bytes()


def contenders(plain: nn.Module, ours: nn.Module) -> list[Engine]:
    """Return the other ways to run the plain model, and onnxruntime's int8 of the artifact's network."""
    small = substitute(ours, FloatLinear)
    return [
        Engine(name=FLOAT, prepare=lambda model, inputs: plain),
        Engine(name="torch dynamic int8", prepare=lambda model, inputs: _fbgemm(plain)),
        Engine(name="torchao int8", prepare=lambda model, inputs: _torchao(plain), packages=("torchao",)),
        Engine(
            name="ONNX Runtime float32",
            prepare=lambda model, inputs: Session(_export(plain, inputs), ()),
            packages=ONNX,
        ),
        Engine(name="ONNX Runtime int8", prepare=lambda model, inputs: _ort_int8(plain, inputs), packages=ONNX),
        Engine(name="the same, same network", prepare=lambda model, inputs: _ort_int8(small, inputs), packages=ONNX),
    ]


def _fbgemm(plain: nn.Module) -> nn.Module:
    made: nn.Module = torch.ao.quantization.quantize_dynamic(copy.deepcopy(plain), {nn.Linear}, torch.qint8)
    return made


def _torchao(plain: nn.Module) -> nn.Module:
    from torchao.quantization import Int8DynamicActivationInt8WeightConfig, quantize_  # noqa: PLC0415 may be missing

    model = copy.deepcopy(plain)
    quantize_(model, Int8DynamicActivationInt8WeightConfig())
    return model


def _ort_int8(plain: nn.Module, inputs: Sequence[Tensor]) -> Run:
    from onnxruntime.quantization import QuantType, quantize_dynamic  # noqa: PLC0415 may be missing

    with tempfile.TemporaryDirectory() as folder:
        plain_file, made = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        plain_file.write_bytes(_export(plain, inputs))
        quantize_dynamic(plain_file, made, per_channel=True, weight_type=QuantType.QInt8)
        return Session(made.read_bytes(), ())


def _export(plain: nn.Module, inputs: Sequence[Tensor]) -> bytes:
    return export_onnx(plain, tuple(t[:4] for t in inputs))


def _us(measured: Fastest, theirs: Sequence[str], ours: Sequence[str]) -> dict[str, dict[int, float]]:
    """Return microseconds a call by way and rows; `artifact` is the fastest engine that answers as it does."""
    us: dict[str, dict[int, float]] = {}
    for one in measured.timings:
        us.setdefault(one.engine, {})[one.rows] = one.us
    best = {n: min(us[name][n] for name in ours if n in us.get(name, {})) for n in us["torch"]}
    return {"artifact": best} | {name: us[name] for name in theirs if name in us} | {f"engine {n}": us[n] for n in ours}


def _accuracy(run: Run, data: models.Data) -> float:
    parts = zip(*(torch.split(t, 64) for t in data.inputs), strict=True)
    with torch.inference_mode():
        return models.accuracy(torch.cat([run(*part) for part in parts]), data.labels)


def _show(name: str, results: dict[str, Any], rows: Sequence[int]) -> None:
    table = Table("way", *(f"{n} rows" for n in rows), "accuracy", "bytes", title=f"{name}: {results['recipe']}")
    for way, us in results["us"].items():
        cells = (f"{us[n]:,.0f} µs, {results['us'][FLOAT][n] / us[n]:.2f}x" if n in us else "" for n in rows)
        accuracy = results["accuracy"].get(way)
        size = results["bytes"].get("float32" if way == FLOAT else way)
        table.add_row(way, *cells, "" if accuracy is None else f"{accuracy:.4f}", "" if size is None else f"{size:,}")
    Console(width=150).print(table)
    for way, why in results["left_out"].items():
        print(f"not measured: {way}: {why}")


def _progress(step: str, done: int, steps: int) -> None:
    if done % max(1, steps // 10) == 0:
        print(f"{step} {done} of {steps}", file=sys.stderr, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.compressors", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("models", choices=CASES, nargs="*", default=["flights", "digits"])
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 8, 64, 512])
    parser.add_argument("--seconds", type=float, default=0.3)
    parser.add_argument("--recipe", help="a recipe instead of the model's own")
    parser.add_argument("--kept", type=Path, help="a folder that keeps weights and artifacts")
    return parser.parse_args()


if __name__ == "__main__":
    main()
