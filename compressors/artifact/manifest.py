"""What an artifact says of its origin: the model's factory, versions, and what was measured.

Owns these entries of the manifest. Does not know the artifact's format. A factory's name is for people to read: nothing
is imported by it, because then a file would decide what code is run.
"""

import copy
import json
import math
import platform
from collections.abc import Callable, Mapping
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from compressors.artifact.parity import Parity
from compressors.wrappers import unwrapped


def made_by(
    model: nn.Module, factory: Callable[..., nn.Module] | None, arguments: Mapping[str, Any] | None
) -> tuple[Callable[[], nn.Module], dict[str, Any]]:
    """Return a function that makes a model like this one, and the entries of the manifest that name it.

    Those are "module:qualname" of the factory, by default of the model's class, and the arguments, by default none.
    Without a factory and arguments the function copies the model.

    Raises:
        ValueError: the factory's model has tensors of other names or shapes.
    """
    make, entries = factory or type(model), name_of(factory or type(model))
    if factory is None and arguments is None:
        return lambda: copy.deepcopy(model), entries
    entries["arguments"] = dict(arguments or {})
    with torch.random.fork_rng(devices=[]):
        made = unwrapped(make(**(arguments or {})))
    theirs, ours = ({name: tuple(t.shape) for name, t in m.state_dict().items()} for m in (made, model))
    for name in (*ours, *theirs):
        if ours.get(name) != theirs.get(name):
            there, here = (shapes.get(name, "missing") for shapes in (theirs, ours))
            what = f"its {name} is {there}, not {here}"
            raise ValueError(f"{origin(entries)} makes another model than the one to compress: {what}")
    return partial(make, **(arguments or {})), entries


def name_of(factory: Callable[..., nn.Module]) -> dict[str, Any]:
    """Return the entry that names a class or function."""
    named: Any = factory if hasattr(factory, "__qualname__") else type(factory)
    return {"factory": f"{named.__module__}:{named.__qualname__}"}


def origin(manifest: Mapping[str, Any]) -> str | None:
    """Return what made the model, as in "module:qualname(width=64)"; None if it is not known."""
    if (factory := manifest.get("factory")) is None:
        return None
    named = manifest.get("arguments")
    arguments = ", ".join(f"{k}={v!r}" for k, v in named.items()) if isinstance(named, Mapping) else "..."
    return f"{factory}({arguments})"


def versions(model: nn.Module) -> dict[str, str]:
    """Return the versions of Python, torch, Shadowstream, and the packages that the model's modules come from."""
    installed = {"python": platform.python_version()}
    packages = {type(module).__module__.partition(".")[0] for module in model.modules()}
    for name in sorted(packages | {"torch", "shadowstream"}):
        try:
            installed[name] = version(name)
        except PackageNotFoundError:
            continue  # a user's own module is not a package
    return installed


class Quality(NamedTuple):
    """Losses on `rows` held-out rows: the means of the plain model and of the artifact, and the standard error of their
    difference. They are NaN or infinite if a loss is.
    """

    loss_before: float
    loss_after: float
    loss_error: float
    rows: int

    @classmethod
    def of(cls, before: Tensor, after: Tensor) -> "Quality":
        """Return the figures of two models' losses (N,) on the same rows."""
        error = float((after - before).std(correction=0)) / len(before) ** 0.5
        return cls(float(before.mean()), float(after.mean()), error, len(before))


def measured(agreement: Parity, quality: Quality) -> dict[str, Any]:
    """Return the entries of what was measured; a number that is not finite becomes None."""
    return {
        name: {key: finite(value) for key, value in figures._asdict().items()}
        for name, figures in (("parity", agreement), ("quality", quality))
    }


def joined(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
    """Return one manifest of what is known before anything is measured, `ours`, and what a user adds, `theirs`.

    Raises:
        ValueError: a user's name is one of ours, or the manifest is not JSON.
    """
    if taken := [name for name in theirs if name in (*ours, "arguments", "parity", "quality")]:
        raise ValueError(f"manifest: {', '.join(taken)} is written by compress itself; choose another name")
    return as_read({**ours, **theirs})


def as_read(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return a manifest as JSON will return it.

    Raises:
        ValueError: it is not JSON.
    """
    try:
        read: dict[str, Any] = json.loads(json.dumps(dict(manifest), allow_nan=False))
    except (TypeError, ValueError) as wrong:
        raise ValueError(f"a manifest, with the factory's arguments, must be JSON: {wrong}") from wrong
    return read


def finite(number: float) -> float | None:
    """Return the number, or None, which JSON can hold, if it is not finite."""
    return number if math.isfinite(number) else None
