"""The section [ray]: which cluster runs the roles of a pipeline, and what each role needs of a node there.

Owns these settings, and what is wrong with them. Does not know Ray, nor any cluster:
`deploy/processes/nodes/enough.py` compares what is needed with what there is.
"""

import difflib
import json
import math
import re
from typing import Annotated, Any

from msgspec import Meta, Struct

from streams import hosts
from streams.errors import ConfigError

ADDRESSES = (
    "host:port of a running cluster's head, 'auto' for one that runs on this machine, or 'local' to start one that is "
    "ours alone"
)
ROLES = ("server", "joiner", "learner", "distiller", "evaluator", "conductor")  # all servers and all joiners alike
LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
LABEL_KEY = re.compile(rf"([A-Za-z0-9][A-Za-z0-9.-]*/)?{LABEL.pattern}")
GB = 1e9  # bytes


class Needs(Struct, frozen=True, kw_only=True):
    """What a role's process needs of a node: so many `cpus` and `gpus`, `memory_gb`, and these `labels`.

    Ray counts them and gives none twice; it does not hold a process to them.

    >>> str(Needs(cpus=2, labels={"zone": "b"}))
    "cpus = 2, labels zone = 'b'"
    """

    cpus: float = 0.0
    gpus: float = 0.0
    memory_gb: float = 0.0
    labels: dict[str, str] = {}

    def __str__(self) -> str:
        amounts = [f"{key} = {getattr(self, key):g}" for key in AMOUNTS if getattr(self, key)]
        labels = [f"{key} = {value!r}" for key, value in self.labels.items()]
        return ", ".join([*amounts, *(["labels " + " and ".join(labels)] if labels else [])]) or "nothing"


AMOUNTS = ("cpus", "gpus", "memory_gb")
NOTHING = Needs()


class Ray(Struct, frozen=True, kw_only=True):
    """`address` is host:port of a running Ray cluster, or "auto" for one on this machine; "local" starts a local one,
    as does None where the variable RAY_ADDRESS does not name a cluster.

    `insecure` takes a cluster that asks nobody for a token, so that whoever reaches its ports can run code there.
    `roles` says what roles need of a node, a table for each: `cpus`, `gpus`, `memory_gb`, `labels`.
    """

    address: Annotated[str, Meta(min_length=1)] | None = None
    insecure: bool = False
    roles: dict[str, Needs] = {}

    def __post_init__(self) -> None:
        if self.address in (None, "auto", "local"):
            return
        at = hosts.parse(str(self.address))
        if not (at and at.port):
            raise ConfigError(f"ray.address must be {ADDRESSES}; found {hosts.shown(self.address)}")

    @property
    def cluster(self) -> str | None:
        """The address of the cluster that is given; None where Ray is started on this machine, for this run alone."""
        return None if self.address == "local" else self.address

    def needs(self, role: str) -> Needs:
        """Return what a role of this name needs: "joiner-1" what a joiner does."""
        return self.roles.get(role.partition("-")[0], NOTHING)


def roles_of(value: object) -> dict[str, Needs]:
    """Read the tables [ray.roles.ROLE], or the same as JSON.

    >>> roles_of({"learner": {"cpus": 2}})["learner"].cpus
    2.0

    Raises:
        ValueError: a role or a key is not known, or a value is none that a node can have.
    """
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            raise ValueError('ray.roles in a variable must be JSON, such as {"learner": {"cpus": 2}}') from None
    tables = _table(value, "ray.roles", ROLES)
    return {role: _needs(f"ray.roles.{role}", table) for role, table in tables.items()}


def _needs(name: str, value: object) -> Needs:
    table = _table(value, name, Needs.__struct_fields__)
    amounts = {key: _amount(f"{name}.{key}", table[key]) for key in AMOUNTS if key in table}
    gpus = amounts.get("gpus", 0.0)
    if gpus > 1 and gpus % 1:
        raise ValueError(f"{name}.gpus must be a whole number, or a part of one GPU, such as 0.5")
    return Needs(**amounts, labels=_labels(f"{name}.labels", table.get("labels", {})))


def _table(value: object, name: str, known: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{name} must be a table with any of {', '.join(known)}")
    for key in value:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.0)[0]
            raise ValueError(f"unknown key {hosts.shown(f'{name}.{key}')}; did you mean '{name}.{near}'?")
    return value


def _amount(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ValueError(f"{name} must be a number, 0 or more")
    return float(value)


def _labels(name: str, value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        raise ValueError(f"{name} must be a table of texts, such as {{zone = 'b'}}")
    for key, text in value.items():
        if not LABEL_KEY.fullmatch(str(key)) or not (isinstance(text, str) and LABEL.fullmatch(text)):
            raise ValueError(f"{name} must be names and values of at most 63 letters, digits, '-', '_' and '.'")
    return value
