"""A new folder with a pipeline that works: what `shadowstream init NAME` writes.

Owns the copying, and what is refused. Does not know what is in the files: `examples/start` has them.
"""

from pathlib import Path

from compressors.arguments import shown
from deploy.feed import name_fault
from streams.errors import ConfigError

FILES = ("pipeline.py", "shadowstream.toml", "produce.py", "README.md")
PLACEHOLDER = "my-feed"  # the pipeline's name in the example's files


def start(name: str, example: Path, folder: Path) -> list[Path]:
    """Write the example's files into a new or empty folder, for a pipeline of this name; return their paths.

    Raises:
        ConfigError: the name has other characters than a pipeline's, or the folder is not empty or cannot be written.
    """
    if why := name_fault(name) or ("begin with another character than '-'" if name.startswith("-") else None):
        raise ConfigError(f"a pipeline's name must {why}, got {shown(name)}")
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file; choose another name, or remove it")
    try:
        if folder.is_dir() and any(folder.iterdir()):
            raise ConfigError(f"{folder} is not empty; choose another name, or remove it")
        folder.mkdir(exist_ok=True)
        return [_written(folder / file, (example / file).read_text(encoding="utf-8"), name) for file in FILES]
    except OSError as wrong:
        raise ConfigError(f"cannot write {folder}: {wrong.strerror}") from None


def _written(path: Path, text: str, name: str) -> Path:
    path.write_text(text.replace(PLACEHOLDER, name), encoding="utf-8")
    return path
