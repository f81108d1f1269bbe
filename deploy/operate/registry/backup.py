"""A feed's registry copied while the feed goes on.

Owns finding the registry. Does not know what is copied when (deploy/registry/backup.py), or tables.
"""

from pathlib import Path

from deploy.config import Settings
from deploy.feed import load
from deploy.registry.backup import Copied, back_up
from deploy.registry.registry import begun
from streams.errors import ConfigError


def backup(path: Path, settings: Settings, to: Path) -> Copied:
    """Copy a pipeline's registry to `to/NAME`, or what is new of it since the copy that is there.

    Raises:
        ConfigError: nothing was learned here, or the folder is the registry itself.
        RegistryError: the folder holds another feed's copy, or a commit is damaged.
        RegistryUnwritable: the folder takes nothing.
    """
    name, registry = load(path).name, Path(settings.registry.path).resolve()
    if not begun(registry / name):
        raise ConfigError(
            f"{registry / name} has no commit: use the working directory of the run, or its registry.path"
        )
    if to.resolve() == registry or to.resolve().is_relative_to(registry / name):
        raise ConfigError(f"--to {to} is in the registry itself; name another folder, best on another disk")
    return back_up(registry / name, to.resolve() / name)
