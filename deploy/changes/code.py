"""The digest of a user's function: of its code, and that of the user's functions and constants which it names.

Owns what is followed. Comments, layout and line numbers do not count. What a function reads otherwise, a file or a
method of an object, is not seen: answers to the log are compared for that (`record.py`).
"""

import builtins
import hashlib
import types
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from deploy.loading import installed

DIGITS = 16
PLAIN = (int, float, complex, str, bytes, bool, type(None))


def code_of(function: Any) -> str:
    """Return a digest, or the name of a function that is a package's or ours."""
    if isinstance(function, partial):
        return f"{code_of(function.func)} with {_plain([*function.args, *sorted(function.keywords.items())])}"
    function = getattr(function, "__func__", function)
    if not isinstance(function, types.FunctionType):
        function = function if isinstance(function, type) else type(function)
    if not _users(function):
        return str(getattr(function, "__qualname__", type(function).__qualname__))
    digest = hashlib.sha256()
    for part in _parts(function, set()):
        digest.update(part.encode())
    return digest.hexdigest()[:DIGITS]


def _parts(what: Any, seen: set[int]) -> Iterator[str]:
    """Yield what decides what a function, a class or a constant does."""
    if id(what) in seen:
        return
    seen.add(id(what))
    if isinstance(what, types.FunctionType):
        yield from _code(what.__code__)
        yield _plain([what.__defaults__, what.__kwdefaults__])
        for named in _named(what):
            yield from _parts(named, seen)
    elif isinstance(what, type):
        for name, member in sorted(vars(what).items()):
            inner = getattr(member, "__func__", member)
            if isinstance(inner, types.FunctionType) and _users(inner):
                yield name
                yield from _parts(inner, seen)
    elif not isinstance(what, types.ModuleType):
        yield _plain(what)


def _code(code: types.CodeType) -> Iterator[str]:
    yield code.co_code.hex()
    yield " ".join(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _code(constant)
        else:
            yield _plain(constant)


def _named(function: types.FunctionType) -> Iterator[Any]:
    """Yield the user's own among the globals and the closure's values that a function names."""
    names = dict.fromkeys(_names(function.__code__))
    known = function.__globals__
    found = [known[name] for name in names if name in known and not hasattr(builtins, name)]
    cells = function.__closure__ or ()
    for value in [*found, *(cell.cell_contents for cell in cells)]:
        callable_ = isinstance(value, types.FunctionType | type)
        if _users(value) if callable_ else isinstance(value, (*PLAIN, tuple, list, dict, set, frozenset)):
            yield value


def _names(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)


def _users(what: Any) -> bool:
    """Return whether a function or class is in a file that is neither a package's nor ours."""
    code = getattr(what, "__code__", None)
    if code is not None:
        return not installed(Path(code.co_filename).resolve())
    members = (
        [one for one in vars(what).values() if isinstance(one, types.FunctionType)] if isinstance(what, type) else []
    )
    return any(_users(one) for one in members)


def _plain(value: Any) -> str:
    """Return a constant as text, the same in every process."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{_plain(k)}:{_plain(v)}" for k, v in value.items()) + "}"
    if isinstance(value, set | frozenset):
        return "{" + ",".join(sorted(map(_plain, value))) + "}"
    if isinstance(value, tuple | list):
        return "[" + ",".join(map(_plain, value)) + "]"
    return repr(value) if isinstance(value, PLAIN) else type(value).__qualname__
