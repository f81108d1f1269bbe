"""What a pipeline is, by part: features, encode, model, recipe, task, join and so on, each as names and texts.

Owns what is kept of each part, so that another start can name what has changed. Does not know what follows from it.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, TypeAlias, get_type_hints

import msgspec
import torch
from msgspec import inspect

from compressors.wrappers import unwrapped
from deploy.changes.code import code_of
from deploy.pipeline import Pipeline
from learners.live.reading import read
from learners.live.settings import Live
from learners.online.transforms.tabular import Tabular
from streams.join.policy import JoinPolicy

Parts: TypeAlias = dict[str, dict[str, str]]
ADDRESS = re.compile(r" at 0x[0-9a-f]+")
DEPTH = 4  # of structs within structs
STRUCTS = inspect.StructType | inspect.DataclassType | inspect.NamedTupleType | inspect.TypedDictType
PACE = {"joiners", "batch_events", "batch_bytes", "stream_bound", "most_early", "align_s", "idle_s", "shards"}


def parts_of(pipeline: Pipeline, join: JoinPolicy) -> Parts:
    """Return a pipeline's parts. The model is made once; torch's chance stays as it was."""
    return {
        "features": dict(_fields(pipeline.features)),
        "encode": {"code": _encode(pipeline)},
        "model": _model(pipeline),
        "recipe": {"steps": str(pipeline.recipe) or "(none)"},
        "task": {"task": _text(pipeline.task)},
        "join": {name: value for name, value in _settings(join).items() if name not in PACE},
        "online": _settings(pipeline.online),
        "live": _live(pipeline),
        "trust": {"trust": _text(pipeline.trust)},
        "promotion": _settings(pipeline.promotion),
        "seed": {"seed": str(pipeline.seed)},
        "migrate": {"code": code_of(pipeline.migrate) if pipeline.migrate else "(none)"},
    }


def _fields(kind: Any) -> Iterator[tuple[str, str]]:
    """Yield the fields of a features type: each one's name in JSON, and its type, "=" where it has a default."""
    info = inspect.type_info(kind)
    if not isinstance(info, STRUCTS):
        yield "(all)", _kind(kind)
        return
    yield from _within(info, "", DEPTH)


def _within(info: Any, at: str, depth: int) -> Iterator[tuple[str, str]]:
    hints = get_type_hints(info.cls)
    for one in info.fields:
        yield f"{at}{one.encode_name}", _kind(hints[one.name]) + ("" if one.required else " =")
        if isinstance(one.type, STRUCTS) and depth > 1:
            yield from _within(one.type, f"{at}{one.encode_name}.", depth - 1)


def _kind(kind: Any) -> str:
    """Return a type as it is written in Python."""
    return kind.__qualname__ if isinstance(kind, type) and not hasattr(kind, "__args__") else str(kind)


def _encode(pipeline: Pipeline) -> str:
    owner = getattr(pipeline.encode, "__self__", None)
    return "the usual one" if isinstance(owner, Tabular) else code_of(pipeline.encode)


def _model(pipeline: Pipeline) -> dict[str, str]:
    with torch.random.fork_rng(devices=[]):
        made = unwrapped(pipeline.model())
    shapes = {
        name: f"{_dtype(t)} {tuple(t.shape)}" for name, t in made.state_dict().items() if isinstance(t, torch.Tensor)
    }
    return {"layers": ADDRESS.sub("", repr(made))} | shapes


def _dtype(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _live(pipeline: Pipeline) -> dict[str, str]:
    live = pipeline.live
    if not isinstance(live, Live):
        return {"experts": "(the intercept alone)"}
    reads = read(live.wide, pipeline.features, pipeline.task)
    names = {"categories": reads.categories, "numbers": reads.numbers, "texts": reads.texts}
    own = ", ".join(code_of(one) for one in live.experts)
    each = {f"reads {what}": ", ".join(found) or "(none)" for what, found in names.items()}
    return {"experts": f"tables, {own}" if own else "tables", **each} | {
        name: str(getattr(live.wide, name)) for name in ("crosses", "bits")
    }


def _settings(settings: Any) -> dict[str, str]:
    names = [one.name for one in fields(settings)] if is_dataclass(settings) else msgspec.structs.asdict(settings)
    return {name: _text(getattr(settings, name)) for name in names}


def _nameless(value: object) -> bool:
    """Return whether an object's text is its address."""
    return "__repr__" not in {name for kind in type(value).__mro__[:-1] for name in vars(kind)}


def _text(value: Any) -> str:
    """Return a setting as text, the same in every process."""
    if callable(value) and not is_dataclass(value):
        return code_of(value)
    if is_dataclass(value) and not isinstance(value, type):
        said = ", ".join(f"{one.name}={_text(getattr(value, one.name))}" for one in fields(value))
        return f"{type(value).__name__}({said})"
    if _nameless(value):
        said = ", ".join(f"{name}={_text(one)}" for name, one in sorted(getattr(value, "__dict__", {}).items()))
        return f"{type(value).__name__}({said})"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_text(one)}" for key, one in value.items()) + "}"
    return f"{value:g}" if isinstance(value, float) else str(value)
