"""The code of a pipeline, as it goes with a run to the nodes of a cluster: its folder, in one zip file.

Owns what of the folder goes along, and where it is on a node. Does not know Ray, nor what is in the files.
"""

import re
import zipfile
from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from pathlib import Path

from streams.errors import ConfigError

FOLDER = "shadowstream_pipeline"  # in a process's working directory; no module of a user's hides one of Python's there
BIG_BYTES = 64 << 20  # of a file or folder beside the pipeline; Ray's head keeps all of it in memory
MOST_FILES = 5_000  # of one folder
MOST_BYTES = 256 << 20
DATE = (1980, 1, 1, 0, 0, 0)  # the same files make the same zip, which a node has already


def pack(pipeline: Path, to: Path, without: Sequence[Path] = ()) -> list[str]:
    """Write the folder of a pipeline.py into a zip file; return what is left out because it is large.

    Left out without a word: what is hidden, virtual environments, `__pycache__`, links to folders, and `without`.

    Raises:
        ConfigError: what is needed is too large, or cannot be read.
    """
    top = pipeline.resolve().parent
    try:
        chosen, large = _chosen(top, {path.resolve() for path in without})
        to.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(to, "w", zipfile.ZIP_DEFLATED) as zipped:
            for path in chosen:
                zipped.writestr(zipfile.ZipInfo(f"{FOLDER}/{path.relative_to(top)}", DATE), path.read_bytes())
    except OSError as wrong:
        raise ConfigError(
            f"cannot read {wrong.filename}, which would go to the nodes of the cluster: {wrong.strerror}"
        ) from None
    return large


def here(trace: str, folder: Path) -> str:
    """Return a traceback of a node with the files of the pipeline as they are in its folder here."""
    return re.sub(rf'"[^"]*/{FOLDER}/', lambda _: f'"{folder}/', trace)


def _chosen(top: Path, without: Collection[Path]) -> tuple[list[Path], list[str]]:
    """Return the files that go along, and the names of what is too large to."""
    chosen, large = list[Path](), list[str]()
    for entry in sorted(top.iterdir()):
        files = list(islice(_files(entry, without), MOST_FILES + 1))
        if len(files) > MOST_FILES or sum(path.stat().st_size for path in files) > BIG_BYTES:
            large.append(f"{entry.name}{'/' if entry.is_dir() else ''}")
        else:
            chosen += files
    if (total := sum(path.stat().st_size for path in chosen)) > MOST_BYTES:
        raise ConfigError(
            f"{top} has {total >> 20:,} MiB, too much to go to the nodes of a cluster, where "
            f"{MOST_BYTES >> 20} MiB may: put the pipeline and the modules that it imports in a folder of their own"
        )
    return chosen, large


def _files(entry: Path, without: Collection[Path]) -> Iterator[Path]:
    """Yield the files of an entry of a folder that may go along."""
    if entry.name.startswith(".") or entry.name == "__pycache__" or entry.resolve() in without:
        return
    if entry.is_file():
        yield entry
    elif entry.is_dir() and not entry.is_symlink() and not (entry / "pyvenv.cfg").exists():
        for path in sorted(entry.iterdir()):
            yield from _files(path, without)
