"""Files that a command is to write. Owns the check before the work whose result they are for."""

from pathlib import Path

from streams.errors import ConfigError


def check_file(path: Path | None) -> None:
    """Refuse a path at which no file can be made, before the work whose result it is for.

    Raises:
        ConfigError: names the file.
    """
    if path is not None and not path.parent.is_dir():
        raise ConfigError(f"cannot write {path}: there is no folder {path.parent}")
    if path is not None and path.is_dir():
        raise ConfigError(f"cannot write {path}: it is a folder")
