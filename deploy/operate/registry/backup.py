"""A feed's registry copied while the feed goes on.

Owns finding the registry. Does not know what is copied when (deploy/registry/backup.py), or tables.
"""

from pathlib import Path

from deploy.config import Settings
from deploy.feed import load
from deploy.registry.backup import Copied, back_up
from deploy.registry.registry import begun
from deploy.registry.storage.home import home
from streams.errors import ConfigError


def backup(path: Path, settings: Settings, to: Path) -> Copied:
    """Copy a pipeline's registry to `to/NAME`, or what is new of it since the copy that is there.

    Raises:
        ConfigError: nothing was learned here, or the folder is the registry itself.
        RegistryError: the folder holds another feed's copy, or a commit is damaged.
        RegistryUnwritable: the folder takes nothing.
    """
    at = home(settings.registry.path, load(path).name)
    if not begun(at):
        raise ConfigError(f"{at} has no commit: use the working directory of the run, or its registry.path")
    if at.local and (to.resolve() == at.folder.parent or to.resolve().is_relative_to(at.folder)):
        raise ConfigError(f"--to {to} is in the registry itself; name another folder, best on another disk")
    return back_up(at, to.resolve() / at.name)
