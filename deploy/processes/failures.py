"""Why a role ended with an error that is not ours: one line that names the user's own line, and a file with the rest.

Owns these words. Does not know Ray.
"""

import re
from pathlib import Path

from deploy.loading import installed
from streams.errors import ShadowstreamError

FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+)')
MOST = 300  # characters of another program's text


def brief(wrong: object) -> str:
    """Return the first line that says something of an error's text, cut if it is long."""
    lines = [line for line in map(str.strip, str(wrong).splitlines()) if line]
    text = lines[0] if lines else "it says nothing"
    return text if len(text) <= MOST else f"{text[:MOST]}…"


def failure(role: str, cause: BaseException, trace: str, pipeline: Path, folder: Path) -> ShadowstreamError:
    """Return our error for a role that another error has ended; its traceback is kept in the folder, if it can be.

    The line at fault is the last in the pipeline's own folder.
    """
    path = folder / f"{role}.error"
    kept = f"its traceback is in {path}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(trace, encoding="utf-8", errors="replace")
    except OSError as wrong:  # a disk that is full ends no run
        kept = f"its traceback cannot be written to {path}: {wrong.strerror}"
    frames = [(Path(found["file"]), found["line"]) for found in FRAME.finditer(trace)]
    mine = [(file, line) for file, line in frames if file.is_relative_to(pipeline.parent) and not installed(file)]
    where = f"{mine[-1][0].relative_to(pipeline.parent)}:{mine[-1][1]}: " if mine else ""
    said = f"{type(cause).__name__}: {brief(cause)}"
    return ShadowstreamError(f"the {role} ended: {where}{said}; {kept}")
