"""Policy files: what `Promotion` should be instead of what the pipeline says.

Owns what such a file may hold. Does not know what is decided under it.
"""

import tomllib
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, NamedTuple

from compressors.arguments import unknown
from learners.evaluation.gate import Promotion
from streams.errors import ConfigError

FIXED = "every_days", "drift_a_year"  # say when candidates were made, and the record has those that were
FUNCTIONS = "guards"
TABLES = "rails", "canary"


class Policy(NamedTuple):
    """Parameters of `Promotion` that are `given` other values, as TOML has them, under a name for people."""

    name: str
    given: dict[str, Any]

    def promotion(self, ours: Promotion) -> Promotion:
        """Return the policy whose other parameters are those of `ours`.

        Raises:
            ConfigError: a parameter is unknown or out of its range, or would have other candidates made.
        """
        known = [field.name for field in fields(Promotion) if field.name != FUNCTIONS]
        for name, value in self.given.items():
            if name not in known:
                raise ConfigError(unknown(name, known, "Promotion"))
            if name in FIXED and value != getattr(ours, name):
                raise ConfigError(
                    f"{name} = {value}, but the candidates on record were made by {name} = {getattr(ours, name):g}, "
                    f"and others would have to be learned; leave {name} out"
                )
        tables = {name: self.given.get(name, {}) for name in TABLES}
        for name, found in tables.items():
            if not isinstance(found, dict):
                raise ConfigError(f"{name} must be a table, [{name}]; found {found!r:.50}")
        made = {name: replace(getattr(ours, name), **given) for name, given in tables.items()}
        return replace(ours, **{**self.given, **made})


def read(paths: Sequence[Path], ours: Promotion) -> list[Policy]:
    """Return the policies of TOML files, each named after its file.

    Raises:
        ConfigError: a file cannot be read, or as `Policy.promotion`; or two files have one name.
    """
    found = list[Policy]()
    for path in paths:
        if path.stem in {other.name for other in found}:
            raise ConfigError(f"{path}: another policy file is named {path.stem} too; name each otherwise")
        found.append(_read(path, ours))
    return found


def _read(path: Path, ours: Promotion) -> Policy:
    try:
        policy = Policy(path.stem, tomllib.loads(path.read_text(encoding="utf-8-sig")))
    except OSError as wrong:
        raise ConfigError(f"cannot read {path}: {wrong.strerror}") from None
    except ValueError as wrong:  # not TOML, or not UTF-8
        raise ConfigError(f"{path}: not TOML: {wrong}") from None
    try:
        policy.promotion(ours)
    except ConfigError as wrong:
        raise ConfigError(f"{path}: {wrong}") from None
    return policy
