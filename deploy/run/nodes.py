"""Where the roles of a run or a join begin: on the nodes of a cluster that the settings name, or on this machine.

Owns when Ray is imported, and which settings are the same on another node. Does not know what roles do. Imports no
model.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from deploy.config import Settings, have_ray_say_lines, set_ray_aside
from deploy.processes.failures import brief
from deploy.registry.storage.home import Home, is_address
from deploy.run.partitions import Say
from streams.errors import ConfigError

if TYPE_CHECKING:
    from deploy.processes.nodes.node import Node

FILES = {  # settings that name files, several with commas between them
    "kafka": ("ssl_cafile", "ssl_certfile", "ssl_keyfile"),
    "redis": ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile"),
    "registry": ("key", "trusted"),
}


@contextmanager
def on_cluster(
    path: Path, settings: Settings, roles: Sequence[str], at: Home, say: Say, *, detached: bool = False
) -> Iterator["Node | None"]:
    """Join the cluster that is given, for the `with`, where these roles will be; yield None where there is none.

    A `detached` run is on it already.

    Raises:
        RayUnreachable: it does not answer.
        ConfigError: roles could not work there.
    """
    if settings.ray.cluster is None:
        yield None
        return
    if detached:
        yield with_ray("nodes.node", settings).within(settings, roles, at.folder, say)
        return
    with with_ray("nodes.node", settings).joined(settings, path, roles, at.folder, say) as node:
        yield node


def everywhere(settings: Settings) -> Settings:
    """Return the settings as they are in any working directory: files and the registry's folder by whole paths."""
    if not is_address(settings.registry.path):
        path = str(Path(settings.registry.path).resolve())
        settings = msgspec.structs.replace(settings, registry=msgspec.structs.replace(settings.registry, path=path))
    for name, keys in FILES.items():
        section = getattr(settings, name)
        whole = {key: _whole(getattr(section, key)) for key in keys}
        settings = msgspec.structs.replace(settings, **{name: msgspec.structs.replace(section, **whole)})
    return settings


def _whole(files: str | None) -> str | None:
    if files is None or "\n" in files:  # a key's text
        return files
    return ",".join(str(Path(file.strip()).resolve()) for file in files.split(","))


def with_ray(module: str, settings: Settings) -> Any:
    """Import what imports Ray, and only now: one of a cluster's variables could end the process as it is."""
    if settings.ray.cluster is None:
        set_ray_aside()
    have_ray_say_lines()
    try:
        return import_module(f"deploy.processes.{module}")
    except (ImportError, ValueError) as wrong:
        raise ConfigError(f"Ray cannot be imported: {brief(wrong)}; check the variables RAY_...") from wrong
