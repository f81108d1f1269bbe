"""A user's Python file, imported together with the modules beside it.

Owns where these are looked for, and what is said where an import fails. Does not know what the file defines.
"""

import hashlib
import importlib.util
import inspect
import re
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from compressors.arguments import unknown
from streams.errors import ConfigError, ShadowstreamError

T = TypeVar("T")
OURS = ("compressors", "deploy", "learners", "shadowstream", "streams")
RESERVED = {*sys.stdlib_module_names, *OURS}  # what no file of a user's stands in for
MOST = 300  # characters of another program's text
CALL = re.compile(r"(?:\w+\.)*?(\w+)(?:\.__init__)?\(\) got an unexpected keyword argument '(\w+)'")
PACKAGE = Path(__file__).parents[1]


class Beside(MetaPathFinder):
    """Finds the modules in the folder of the user's file that was imported last.

    They come before what is installed, as with `python FILE`. Where a process imports files of several folders, each
    has modules of its own: what was found for one is put aside while another's is imported. `folder` is where it looks.
    """

    def __init__(self) -> None:
        self.folder = ""
        self._found = set[str]()
        self._aside: dict[str, dict[str, ModuleType]] = {}

    def enter(self, folder: str) -> None:
        """Look in this folder from now on."""
        if self not in sys.meta_path:
            sys.meta_path.insert(0, self)
        if folder == self.folder:
            return
        mine = {name: module for name, module in sys.modules.items() if name.partition(".")[0] in self._found}
        for name in mine:
            del sys.modules[name]
        self._aside[self.folder] = mine
        if self.folder in sys.path:
            sys.path.remove(self.folder)
        there = self._aside.pop(folder, {})
        sys.modules.update(there)
        sys.path.append(folder)  # for processes that user code starts, and for folders without an __init__.py
        self.folder, self._found = folder, {name.partition(".")[0] for name in there}

    def found(self, file: Path, folder: Path) -> bool:
        """Return whether a file of this folder was found as a module of it."""
        return str(folder) == self.folder and file.relative_to(folder).parts[0].removesuffix(".py") in self._found

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of a module in the folder."""
        if path is not None or fullname in RESERVED:
            return None
        spec = PathFinder.find_spec(fullname, [self.folder])
        if spec is None or (spec.loader is None and _installed(fullname, self.folder)):
            return None
        self._found.add(fullname)
        return spec


BESIDE = Beside()
FILES: dict[str, Path] = {}  # of the modules' names


def imported(path: Path, kind: str) -> ModuleType:
    """Import a user's file, which may import the modules beside it.

    Raises:
        ConfigError: there is no such file, or it does not import (the text has the line at fault).
    """
    if path.is_dir():
        raise ConfigError(f"{path} is a folder; name the file in it, such as {path / f'{kind}.py'}")
    if not path.is_file():
        raise ConfigError(f"no such file: {path}")
    real = path.resolve()
    spec = importlib.util.spec_from_file_location(_name(real, kind), real)
    if spec is None or spec.loader is None:
        raise ConfigError(f"not a Python file: {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    BESIDE.enter(str(real.parent))
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as wrong:
        del sys.modules[spec.name]
        raise ConfigError(_failure(path, real, wrong)) from wrong
    return module


@contextmanager
def left() -> Iterator[None]:
    """Import files of another folder in the block; after it the folder of before is looked in again."""
    before = BESIDE.folder
    try:
        yield
    finally:
        if before:
            BESIDE.enter(before)


def sources(path: Path) -> dict[str, str]:
    """Return the texts of a user's file that was imported, and of the modules beside it, by name, its own first."""
    real = path.resolve()
    files = [
        Path(file).resolve() for module in list(sys.modules.values()) if (file := getattr(module, "__file__", None))
    ]
    beside = sorted(file for file in files if file.is_relative_to(real.parent) and BESIDE.found(file, real.parent))
    return {str(file.relative_to(real.parent)): file.read_text(encoding="utf-8") for file in (real, *beside)}


def attribute(module: ModuleType, path: Path, name: str, kind: type[T]) -> T:
    """Return a module's `name`.

    Raises:
        ConfigError: the module has no such name, or it is not a `kind`.
    """
    value: Any = getattr(module, name, None)
    if not isinstance(value, kind):
        fault = f"`{name}` is of type {type(value).__name__}" if value is not None else f"there is no `{name}`"
        raise ConfigError(f"{path}: needs a module-level `{name} = {kind.__name__}(...)`; {fault}")
    found: T = value
    return found


def _name(path: Path, kind: str) -> str:
    """Return a module's name; two files of one name have different ones in a process."""
    name = f"{kind}_{path.parent.name}"
    if FILES.setdefault(name, path) != path:
        name += f"_{hashlib.sha1(str(path).encode(), usedforsecurity=False).hexdigest()[:8]}"
    return name


def _installed(name: str, folder: str) -> bool:
    """Return whether a module of this name is found elsewhere."""
    spec = PathFinder.find_spec(name, [entry for entry in sys.path if entry != folder])
    return spec is not None and spec.loader is not None


@contextmanager
def users_code(what: str) -> Iterator[None]:
    """Raise whatever a user's function raises as an error of ours that names its line; `what` is what is being done.

    Raises:
        ConfigError: something was raised that is not ours.
    """
    try:
        yield
    except ShadowstreamError:
        raise
    except Exception as wrong:
        raise ConfigError(f"{what}: {_lines(wrong, BESIDE.folder)}{_reason(wrong)}") from wrong


def _failure(path: Path, real: Path, wrong: BaseException) -> str:
    """Return where a file's import failed and why: its line, and the line of a module beside it if that failed."""
    at_top = [line for file, line in _frames(wrong) if file == real]
    where = f"{path}:{at_top[-1]}: " if at_top else f"{path}: "
    beside = _lines(wrong, str(real.parent))
    return where + ("" if beside.startswith(f"{real.name}:") else beside) + _reason(wrong)


def _frames(wrong: BaseException) -> list[tuple[Path, int]]:
    """Return the files and lines through which an error went, the last where it was raised."""
    trace = [frame for frame in traceback.extract_tb(wrong.__traceback__) if not frame.filename.startswith("<")]
    frames = [(Path(frame.filename).resolve(), frame.lineno or 0) for frame in trace]
    if isinstance(wrong, SyntaxError) and wrong.filename:
        frames.append((Path(wrong.filename).resolve(), wrong.lineno or 0))
    return frames


def _lines(wrong: BaseException, folder: str) -> str:
    """Return the last line of a user's own in a folder that an error went through, for a message."""
    mine = [(file, line) for file, line in _frames(wrong) if file.is_relative_to(folder) and not installed(file)]
    return f"{mine[-1][0].relative_to(folder)}:{mine[-1][1]}: " if mine else ""


def installed(file: Path) -> bool:
    """Return whether a file is not a user's own: a package's, or one of ours."""
    return "site-packages" in file.parts or _ours(file)


def _ours(file: Path) -> bool:
    return any(file.is_relative_to(PACKAGE / one) for one in OURS)


def _reason(wrong: BaseException) -> str:
    """Return what an error says, in our words where we know more."""
    text, frames = " ".join(str(wrong).split()), _frames(wrong)
    text = text if len(text) <= MOST else f"{text[:MOST]}…"
    if isinstance(wrong, ShadowstreamError) or (isinstance(wrong, ValueError) and frames and _ours(frames[-1][0])):
        return text
    if isinstance(wrong, SystemExit):
        return "it ends the process (sys.exit); what runs on its own belongs under `if __name__ == '__main__'`"
    if isinstance(wrong, SyntaxError):
        return f"{type(wrong).__name__}: {wrong.msg}"
    if isinstance(wrong, ImportError) and "no known parent package" in text:
        return "write `import NAME`, not `from . import NAME`: the modules beside the file are found by their names"
    if isinstance(wrong, ModuleNotFoundError):
        text += "; no such module is installed, and none lies beside the file"
    if (call := CALL.match(text)) and (known := _parameters(call[1])):
        return unknown(call[2], known, call[1])
    return f"{type(wrong).__name__}: {text}"


def _parameters(name: str) -> list[str]:
    """Return the names of the parameters of one of our public functions; none for any other."""
    public = getattr(sys.modules.get("shadowstream"), name, None)
    return [one for one in inspect.signature(public).parameters if one != "self"] if callable(public) else []
