"""What an artifact says of where it comes from: the model's factory, versions, and what was measured.

Owns these entries of the manifest. Does not know the artifact's format. A factory's name is for people to read: nothing
is ever imported by it, for then a file would choose what code is run.
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


def made_by(
    model: nn.Module, factory: Callable[..., nn.Module] | None, arguments: Mapping[str, Any] | None
) -> tuple[Callable[[], nn.Module], dict[str, Any]]:
    """Give what makes the model anew, and its entries: "module:qualname", and the arguments where they are known.

    If neither factory nor arguments are given, that is a copy, and the class is named; one of them alone goes with no
    arguments, or with the class.

    Raises:
        ValueError: what they make has other names or shapes than the model.
    """
    make, told = factory or type(model), name_of(factory or type(model))
    if factory is None and arguments is None:
        return lambda: copy.deepcopy(model), told
    told["arguments"] = dict(arguments or {})
    with torch.random.fork_rng(devices=[]):
        made = make(**(arguments or {}))
    theirs, ours = ({name: tuple(t.shape) for name, t in m.state_dict().items()} for m in (made, model))
    for name in (*ours, *theirs):
        if ours.get(name) != theirs.get(name):
            there, here = (shapes.get(name, "missing") for shapes in (theirs, ours))
            what = f"its {name} is {there}, not {here}"
            raise ValueError(f"{origin(told)} makes another model than the one given: {what}")
    return partial(make, **(arguments or {})), told


def name_of(factory: Callable[..., nn.Module]) -> dict[str, Any]:
    """Name a class or function."""
    named: Any = factory if hasattr(factory, "__qualname__") else type(factory)
    return {"factory": f"{named.__module__}:{named.__qualname__}"}


def origin(manifest: Mapping[str, Any]) -> str | None:
    """Say in a word what made the model, as "module:qualname(width=64)"; None if it is not known."""
    if (factory := manifest.get("factory")) is None:
        return None
    given = manifest.get("arguments")
    told = ", ".join(f"{k}={v!r}" for k, v in given.items()) if isinstance(given, Mapping) else "..."
    return f"{factory}({told})"


def versions(model: nn.Module) -> dict[str, str]:
    """Give the versions of Python, of Shadowstream, and of the installed packages that the model's modules are from."""
    found = {"python": platform.python_version()}
    packages = {type(module).__module__.partition(".")[0] for module in model.modules()}
    for name in sorted(packages | {"torch", "shadowstream"}):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue  # a file of the user's own has none
    return found


class Quality(NamedTuple):
    """Losses on the held-out rows: means of the plain model and of the artifact, and the standard error of their
    difference; NaN or infinite where the losses are.
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
    """Return the entries of what was measured; None stands for a number that is not finite."""
    return {
        name: {key: finite(value) for key, value in figures._asdict().items()}
        for name, figures in (("parity", agreement), ("quality", quality))
    }


def joined(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
    """Join what we write before anything is measured with what a user adds.

    Raises:
        ValueError: they have a name in common, or it is not JSON.
    """
    if taken := [name for name in theirs if name in (*ours, "arguments", "parity", "quality")]:
        raise ValueError(f"manifest: {', '.join(taken)} is written by compress itself; choose another name")
    return as_read({**ours, **theirs})


def as_read(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Give a manifest as it will be read again.

    Raises:
        ValueError: it is not JSON.
    """
    try:
        read: dict[str, Any] = json.loads(json.dumps(dict(manifest), allow_nan=False))
    except (TypeError, ValueError) as wrong:
        raise ValueError(f"a manifest, with the factory's arguments, is JSON: {wrong}") from wrong
    return read


def finite(number: float) -> float | None:
    """Return the number, or None, which JSON can hold, if it is not finite."""
    return number if math.isfinite(number) else None
