"""A cluster's nodes compared with what a run needs of them, before anything is started.

Owns the comparison, and the words of a refusal. Does not know Ray: what nodes there are is told here.
"""

import socket
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from deploy.config import Settings
from deploy.placement import AMOUNTS, GB, Needs
from deploy.registry.storage.home import is_address
from streams.errors import ConfigError


class Offered(NamedTuple):
    """What a node has."""

    host: str
    has: Needs

    @classmethod
    def of(cls, node: Mapping[str, Any]) -> "Offered":
        """Read what Ray says of a node."""
        resources, labels = node["Resources"], node["Labels"]
        return cls(
            node["NodeManagerHostname"],
            Needs(
                cpus=resources.get("CPU", 0.0),
                gpus=resources.get("GPU", 0.0),
                memory_gb=round(resources.get("memory", 0.0) / GB, 2),
                labels={name: value for name, value in labels.items() if name != "ray.io/node-id"},
            ),
        )

    def fits(self, needs: Needs) -> bool:
        """Return whether a role that needs so much can be here, alone."""
        enough = all(getattr(self.has, key) >= getattr(needs, key) for key in AMOUNTS)
        return enough and needs.labels.items() <= self.has.labels.items()


def check(settings: Settings, roles: Iterable[str], nodes: Sequence[Offered]) -> None:
    """Check that roles on these nodes reach broker, store and registry, and that each has a node that it fits.

    Raises:
        ConfigError: one does not; the text has what is needed, what there is, and what would be right.
    """
    kinds = sorted({role.partition("-")[0] for role in roles})
    if len(nodes) > 1 or any(node.host != socket.gethostname() for node in nodes):
        _check_reached(settings, len(nodes), registry=kinds != ["joiner"])  # which does not read it
    for role in kinds:
        needs = settings.ray.needs(role)
        if not any(node.fits(needs) for node in nodes):
            there = "; ".join(f"{node.host} has {node.has}" for node in nodes)
            raise ConfigError(
                f"ray.roles.{role} needs {needs}, and no node has that: {there}; set less, or add such a node"
            )


def _check_reached(settings: Settings, count: int, *, registry: bool) -> None:
    where = f"roles may be on other machines ({count} node{'s' * (count != 1)} of the cluster)"
    alone = "or ray.address = 'local' to run on this machine alone"
    if settings.kafka.bootstrap is None or settings.redis.embedded or settings.redis.local:
        raise ConfigError(
            f"{where}, and an embedded broker or store, or a Unix socket, is of this one only: set "
            f"kafka.bootstrap and redis.url, {alone}"
        )
    if registry and not is_address(settings.registry.path) and not settings.registry.shared:
        raise ConfigError(
            f"{where}, and registry.path = {settings.registry.path!r} is a folder of this one: set registry.path to a "
            "bucket, such as s3://BUCKET/PREFIX; or registry.shared = true if all nodes see the same folder there; "
            f"{alone}"
        )
