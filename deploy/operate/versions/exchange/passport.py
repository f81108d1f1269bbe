"""What an exported folder says of its version: the record as it was signed, and all that is known of it.

Owns the file and its format. A folder without it may still hold an artifact, such as one of `compress`. Does not know
where folders come from.
"""

from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from deploy.registry.kinds import CHAMPIONS
from deploy.registry.records import Champion
from deploy.registry.seals import Seals, opened
from deploy.registry.signing import public_key
from streams.errors import ConfigError

PASSPORT, FORMAT = "shadowstream.json", 1


class Passport(Struct, frozen=True, kw_only=True):
    """What a folder says of its version.

    `artifact` is the SHA-256 of the artifact's file. `record` is the file of the version's record: its JSON, a line
    feed, and the seal that signs it. `about` is what `show --json` prints: evidence, lineage, recipe, sizes.
    """

    format: int = FORMAT
    feed: str
    version: int
    artifact: str
    record: str
    about: Any

    @property
    def champion(self) -> Champion:
        """The version's record."""
        return CHAMPIONS.decode(opened(self.record.encode())[0])

    def check_signed(self, key: Path) -> None:
        """Check that the key whose public half is in this file has signed the record, of this version and feed.

        Raises:
            ConfigError: the key cannot be read.
            Untrusted: it has not; says why.
        """
        Seals(self.feed, trusted=frozenset({public_key(key)})).check(
            f"{CHAMPIONS.name}/{self.version}", self.record.encode()
        )


def write(folder: Path, passport: Passport) -> None:
    """Write it into a folder."""
    (folder / PASSPORT).write_bytes(msgspec.json.format(msgspec.json.encode(passport), indent=1))


def read(folder: Path) -> Passport | None:
    """Return what a folder says of its version; None if it says nothing.

    Raises:
        ConfigError: the file is damaged, contradicts itself, or is of a newer format.
    """
    path = folder / PASSPORT
    if not path.is_file():
        return None
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Passport)
        agrees = (found.champion.artifact, found.champion.number) == (found.artifact, found.version)
    except msgspec.DecodeError as wrong:
        raise ConfigError(f"{path} is not as `shadowstream export` wrote it: {wrong}") from None
    if found.format != FORMAT:
        raise ConfigError(f"{path} has format {found.format}; this version reads {FORMAT}")
    if not agrees:
        raise ConfigError(f"{path} was changed: its record is not of version {found.version} with that artifact")
    return found
