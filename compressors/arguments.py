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
from typing import Any, NamedTuple, TypeVar, get_args, get_origin

C = TypeVar("C", bound=type)
MOST_SHOWN = 100  # characters of a wrong value
WORDS = {int: "a whole number", float: "a finite number", bool: "True or False", str: "text"}


MOST = 2**31 - 1  # of a count


class Range(NamedTuple):
    """What a number may be: from `least`, or above it where `open`, to `most`, or below it where `open`."""

    least: float = -math.inf
    most: float = math.inf
    open: bool = False

    def __contains__(self, number: Any) -> bool:
        return bool(self.least < number < self.most if self.open else self.least <= number <= self.most)

    def __str__(self) -> str:
        low, high = ("above", "below") if self.open else ("at least", "at most")
        ends = [(low, self.least)] * (self.least > -math.inf) + [(high, self.most)] * (self.most < math.inf)
        return " and ".join(f"{word} {end:,}" for word, end in ends)


COUNT, WHOLE = Range(1, MOST), Range(0, MOST)


def named(
    error: type[Exception], *, called: str = "", types: bool = True, ranges: Mapping[str, Range] | None = None
) -> Callable[[C], C]:
    """Return a decorator of a dataclass: wrong parameters raise `error`, before the class looks at them.

    A value is `called.name` in messages, by default `Class.name`. Without `types` only names are checked. `ranges` are
    those of numbers, by their names.

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
            values = _values(kind, args, given)
            wrong = values if isinstance(values, str) else _fault(kind, values, called, ranges or {}, types=types)
            if wrong:
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
    try:
        text = " ".join(repr(value).split())
    except Exception:  # noqa: BLE001 a user's own __repr__, or a number of more digits than Python writes
        return f"a {type(value).__name__}"
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}…"


def _values(kind: Any, args: tuple[Any, ...], given: Mapping[str, Any]) -> dict[str, Any] | str:
    """Return the parameters that a dataclass is given, by name; or what is wrong with their names or number."""
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
    return f"{kind.__name__} needs {', '.join(f'{name}=...' for name in needed)}" if needed else values


def _fault(
    kind: Any, values: Mapping[str, Any], called: str, ranges: Mapping[str, Range], *, types: bool
) -> str | None:
    """Return what is wrong with the first wrong value; None if there is none."""
    kinds = {field.name: field.type for field in dataclasses.fields(kind)}
    for name, value in values.items():
        expected = _expected(kinds[name], value) if types else None
        if expected is None and value is not None and name in ranges and value not in ranges[name]:
            expected = str(ranges[name])
        if expected:
            return f"{called or kind.__name__}.{name} must be {expected}, got {shown(value)}"
    return None


def _expected(kind: Any, value: object) -> str | None:
    """Return what a value of a plain type must be; None if it is, and for other types, which the class checks."""
    kinds = get_args(kind) if get_origin(kind) is UnionType or isinstance(kind, UnionType) else (kind,)
    if not set(kinds) <= {*WORDS, type(None)} or any(_is(one, value) for one in kinds):
        return None
    return " or ".join([WORDS[one] for one in kinds if one in WORDS] + ["None"] * (type(None) in kinds))


def _is(kind: Any, value: object) -> bool:
    if kind is float:
        return isinstance(value, Real) and not isinstance(value, bool) and _finite(value)
    if kind is int:
        return isinstance(value, Integral) and not isinstance(value, bool)
    return value is None if kind is type(None) else isinstance(value, kind)


def _finite(number: Real) -> bool:
    try:
        return math.isfinite(number)
    except OverflowError:  # a whole number that no float holds
        return False
