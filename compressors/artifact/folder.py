"""Artifacts in plain folders, for exchange; also in Hugging Face's layout if the model is one of theirs.

Owns the names of the files, and that each is written as a whole or not at all. Does not know registries or networks, or
of an artifact more than its description.
"""

import json
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import nn

from compressors.artifact import format as artifact
from compressors.artifact.format import Description
from compressors.errors import ArtifactError

ARTIFACT, DESCRIPTION = "artifact.safetensors", "artifact.json"
CONFIG, WEIGHTS = "config.json", "model.safetensors"  # Hugging Face's names


def push(data: bytes, folder: Path, factory: Callable[[], nn.Module] | None = None) -> Description:
    """Write an artifact, and its description as JSON, into a folder, which is created; return the description.

    If `factory` makes a Hugging Face model, no units were removed and it carries no scale, write `config.json` and
    `model.safetensors` as well, so that `from_pretrained(folder)` reads the model: its weights in float with the served
    values, its inputs not rounded.

    Raises:
        ArtifactError: the bytes are not an artifact that this version reads.
        OSError: the folder cannot be written.

    >>> import tempfile, torch
    >>> from pathlib import Path
    >>> rows = Data((torch.eye(4),), torch.tensor([0.0, 0.0, 1.0, 1.0]))
    >>> small = compress(torch.nn.Linear(4, 1), "quantize(int8)", rows, Binary())
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     pushed = push(small.artifact, Path(folder))
    ...     sorted(file.name for file in Path(folder).iterdir())
    ['artifact.json', 'artifact.safetensors']
    >>> pushed == small.description
    True
    """
    description = artifact.describe(data)
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / ARTIFACT, data)
    _write(folder / DESCRIPTION, json.dumps(asdict(description), indent=1).encode())
    model = factory() if factory else None
    config: Any = getattr(model, "config", None)
    if model is not None and hasattr(config, "to_json_string") and description.scale is None:
        state = artifact.floats(data)
        if all(t.shape == state[name].shape for name, t in model.state_dict().items() if name in state):
            _write(folder / CONFIG, config.to_json_string().encode())
            _write(
                folder / WEIGHTS, save({name: t.contiguous().clone() for name, t in state.items()}, {"format": "pt"})
            )
    return description


def pull(folder: Path) -> bytes:
    """Return the artifact that `push` wrote into a folder, checked.

    Raises:
        ArtifactError: the folder has no artifact, or it is damaged or of a format that this version does not read.

    >>> import tempfile, torch
    >>> from pathlib import Path
    >>> rows = Data((torch.eye(4),), torch.tensor([0.0, 0.0, 1.0, 1.0]))
    >>> small = compress(torch.nn.Linear(4, 1), "quantize(int8)", rows, Binary())
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = push(small.artifact, Path(folder))
    ...     pull(Path(folder)) == small.artifact
    True
    """
    path = folder / ARTIFACT
    try:
        data = path.read_bytes()
    except OSError as wrong:
        raise ArtifactError(f"{folder} has no {ARTIFACT}: {wrong.strerror}") from wrong
    artifact.describe(data)
    return data


def _write(path: Path, data: bytes) -> None:
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.write_bytes(data)
    part.replace(path)
