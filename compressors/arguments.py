"""The parameters of what a user makes: an unknown name is told the nearest known one, and numbers are numbers.

Owns how these mistakes are said. Does not know what a parameter means: its class checks that.
"""

import dataclasses
import difflib
import functools
import math
from collections.abc import Callable, Iterable, Mapping
from numbers import Integral, Real
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin

C = TypeVar("C", bound=type)
MOST_SHOWN = 100  # characters of a wrong value
WORDS = {int: "a whole number", float: "a finite number", bool: "True or False", str: "text"}


def named(error: type[Exception], *, types: bool = True) -> Callable[[C], C]:
    """Return a decorator of a dataclass: wrong parameters raise `error`, before the class looks at them.

    Without `types` only names are checked.

    >>> import dataclasses
    >>> @named(ValueError)
    ... @dataclasses.dataclass(kw_only=True)
    ... class Rate:
    ...     per_day: float = 1.0
    >>> Rate(perday=2)
    Traceback (most recent call last):
    ValueError: Rate has no parameter 'perday'; did you mean 'per_day'?
    """

    def decorate(kind: C) -> C:
        init: Callable[..., None] = kind.__init__  # type: ignore[misc]

        @functools.wraps(init)
        def checked(self: Any, *args: Any, **given: Any) -> None:
            if wrong := _wrong(kind, args, given, types=types):
                raise error(wrong)
            init(self, *args, **given)

        kind.__init__ = checked  # type: ignore[misc]
        return kind

    return decorate


def unknown(name: str, known: Iterable[str], of: str) -> str:
    """Return the message that something has no parameter of a name, with the nearest that it has, or all."""
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    right = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(known)}"
    return f"{of} has no parameter {name!r}; {right}"


def shown(value: object) -> str:
    """Return a value for a message: on one line, and cut if it is long."""
    text = " ".join(repr(value).split())
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}…"


def _wrong(kind: Any, args: tuple[Any, ...], given: Mapping[str, Any], *, types: bool) -> str | None:
    """Return what is wrong with the parameters that a dataclass is given; None if nothing is, but for their ranges."""
    fields = [field for field in dataclasses.fields(kind) if field.init]
    first = [field.name for field in fields if not field.kw_only]
    if len(args) > len(first):
        most = f"at most {len(first)} without a name" if first else "named parameters only"
        return f"{kind.__name__} takes {most}, such as {kind.__name__}({fields[0].name}=...)"
    values = dict(zip(first, args, strict=False)) | dict(given)
    for name in values:
        if name not in [field.name for field in fields]:
            return unknown(name, [field.name for field in fields], kind.__name__)
    without = (dataclasses.MISSING, dataclasses.MISSING)
    needed = [f.name for f in fields if (f.default, f.default_factory) == without and f.name not in values]
    if needed:
        return f"{kind.__name__} needs {', '.join(f'{name}=...' for name in needed)}"
    faults = (_fault(f"{kind.__name__}.{f.name}", f.type, values[f.name]) for f in fields if types and f.name in values)
    return next(filter(None, faults), None)


def _fault(what: str, kind: Any, value: object) -> str | None:
    """Return what is wrong with a value of a plain type; None for other types, which the class checks."""
    kinds = get_args(kind) if get_origin(kind) is UnionType or isinstance(kind, UnionType) else (kind,)
    if not set(kinds) <= {*WORDS, type(None)} or any(_is(one, value) for one in kinds):
        return None
    expected = " or ".join([WORDS[one] for one in kinds if one in WORDS] + ["None"] * (type(None) in kinds))
    return f"{what} must be {expected}, got {shown(value)}"


def _is(kind: Any, value: object) -> bool:
    if kind is float:
        return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    if kind is int:
        return isinstance(value, Integral) and not isinstance(value, bool)
    return value is None if kind is type(None) else isinstance(value, kind)
