"""A folder that was exported, read and checked: whole, and what it says of itself.

Owns these checks. Does not know what becomes of the version.
"""

from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from compressors.artifact.folder import ARTIFACT, pull
from compressors.errors import ArtifactError
from deploy.operate.versions.exchange import mlmodel, passport
from deploy.operate.versions.exchange.passport import PASSPORT, Passport
from streams.errors import ConfigError


class Found(NamedTuple):
    """The bytes of an artifact, their SHA-256, and what is said of it, None where nothing is."""

    packed: bytes
    digest: str
    passport: Passport | None


def read(folder: Path, key: Path | None = None) -> Found:
    """Return what a folder of `export` holds, or one of `compressors`' own, which has no passport.

    With `key`, the file of a public key, that must have signed the version's record.

    Raises:
        ConfigError: there is no such folder, a file is missing, damaged, changed or another version's, or nothing is
            signed; or it is one of MLflow's, and mlflow is not installed.
        Untrusted: another key has signed it, or something else.
    """
    if not folder.is_dir():
        raise ConfigError(f"there is no folder {folder}")
    named = mlmodel.digest(folder)
    try:
        packed = pull(folder)
    except ArtifactError as wrong:
        raise ConfigError(f"{folder}: {one_line(wrong)}") from None
    found = Found(packed, sha256(packed).hexdigest(), passport.read(folder))
    said = {mlmodel.MLMODEL: named, PASSPORT: found.passport and found.passport.artifact}
    for file, digest in said.items():
        if digest is not None and digest != found.digest:
            raise ConfigError(
                f"{folder / ARTIFACT} is not the one that {file} names: its SHA-256 is {found.digest}, not {digest}"
            )
    if key is not None and found.passport is None:
        raise ConfigError(f"{folder} has no {PASSPORT}: there is nothing that {key} could have signed")
    if key is not None and found.passport is not None:
        found.passport.check_signed(key)
    return found


def one_line(wrong: Exception) -> str:
    """Return an error's text without its line breaks."""
    return " ".join(str(wrong).split())
