"""Models of other packages as tensors, for the state of an expert: pickled, so that equal models make equal bytes.

Owns these bytes, and which classes are made of them: a state comes from the store, and a pickle may name any function
that is to be called. Does not know what a model is.
"""

import io
import pickle
from typing import Any

import torch
from torch import Tensor

from streams.errors import ConfigError

PLAIN = {  # what packages' own objects are made of
    "builtins": {"bool", "bytearray", "complex", "dict", "float", "frozenset", "int", "list", "object", "set", "tuple"},
    "collections": {"Counter", "OrderedDict", "defaultdict", "deque"},
    "random": {"Random"},
}


def pickled(model: object) -> Tensor:
    """Return a model as bytes (uint8), for the state of an expert.

    Raises:
        pickle.PicklingError, TypeError: the model cannot be pickled.

    >>> from collections import Counter
    >>> from shadowstream import pickled, unpickled
    >>> unpickled(pickled(Counter("abba")))
    Counter({'a': 2, 'b': 2})
    """
    file = io.BytesIO()
    _Pickler(file).dump(model)
    return torch.frombuffer(bytearray(file.getvalue()), dtype=torch.uint8)


def unpickled(state: Tensor, *packages: str) -> Any:
    """Return the model that `pickled` made the bytes of, of classes of these packages and Python's plain ones.

    Raises:
        ConfigError: it has another class.

    >>> from fractions import Fraction
    >>> from shadowstream import pickled, unpickled
    >>> unpickled(pickled(Fraction(1, 3)), "fractions")
    Fraction(1, 3)
    >>> unpickled(pickled(Fraction(1, 3)), "river")
    Traceback (most recent call last):
    streams.errors.ConfigError: unpickled: the state holds fractions.Fraction, and only classes of 'river' are made;
    name its package too if you trust it
    """
    return _Unpickler(state.numpy().tobytes(), packages).load()


class _Pickler(pickle.Pickler):
    """Writes one of equal texts, the first: which of them are one object differs once a model was loaded."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, protocol=4)
        self._texts = dict[str, str]()

    def persistent_id(self, obj: Any) -> str | None:
        return self._texts.setdefault(obj, obj) if type(obj) is str else None


class _Unpickler(pickle.Unpickler):
    def __init__(self, data: bytes, packages: tuple[str, ...]) -> None:
        super().__init__(io.BytesIO(data))
        self._packages = packages

    def persistent_load(self, pid: Any) -> Any:
        return pid

    def find_class(self, module: str, name: str) -> Any:
        """Find a class by its name, but none through another that it holds: `river.base` imports much."""
        known = module.partition(".")[0] in self._packages or name in PLAIN.get(module, ())
        found = super().find_class(module, name) if known and "." not in name else None
        if getattr(found, "__module__", None) != module:
            allowed = ", ".join(map(repr, self._packages)) or "Python"
            raise ConfigError(
                f"unpickled: the state holds {module}.{name}, and only classes of {allowed} are made; name its package "
                "too if you trust it"
            )
        return found
