"""A feed's registry with the key that signs its records, and those that are trusted.

Owns which keys these are. Does not know what is signed.
"""

from pathlib import Path

from deploy.registry.kinds import CHAMPIONS, KINDS
from deploy.registry.registry import Registry
from deploy.registry.seals import Seals, opened
from deploy.registry.signing import PUBLIC, key_of, own_key, public_half, public_key
from deploy.registry.storage.home import Where, at
from streams.errors import Untrusted


def open_registry(where: Where, key: str | None = None, trusted: str | None = None) -> Registry:
    """Open a feed's registry; records are signed by a key, a file or its text, and checked.

    The files `trusted`, with commas between them, have the public keys that are taken, by default the key's own. The
    default key is in the registry.

    Raises:
        ConfigError: a key cannot be read.
    """
    home = at(where)
    signs = key_of(key) if key else own_key(home.objects)
    taken = [public_key(Path(path.strip())) for path in trusted.split(",")] if trusted else [signs.public]
    return Registry(home, Seals(home.name, signs, frozenset(taken)))


def open_other(where: Where, key: str | None = None, trusted: str | None = None) -> Registry:
    """Open another feed's registry to read it: records are checked by the keys that are trusted, and none is made.

    `key` and `trusted` are as of `open_registry`. The feed's name is that by which its newest version is signed: its
    folder may have been given another one since, or be a backup.

    Raises:
        ConfigError: a key cannot be read.
    """
    home = at(where)
    if trusted:
        taken = [public_key(Path(path.strip())) for path in trusted.split(",")]
    else:
        own = home.objects.get(PUBLIC)
        taken = [key_of(key).public] if key else [] if own is None else [public_half(own, home.of(PUBLIC))]
    there = Registry(home)
    seal = opened(there.read(CHAMPIONS, there.last(CHAMPIONS)) or b"")[1]
    return Registry(home, Seals(seal.feed if seal else home.name, None, frozenset(taken)))


def unsigned(registry: Registry) -> list[str]:
    """Return what is wrong with each record that is not taken, in the order in which they are to be signed."""
    found = []
    for kind in KINDS:
        for number in registry.numbers(kind) if kind.follows else ():
            try:
                registry.record(kind, number)
            except Untrusted as wrong:
                found.append(str(wrong))
    return found


def sign(registry: Registry) -> int:
    """Sign all records that are not taken as they are; return how many.

    Raises:
        RegistryError: one is none that can be read.
    """
    count = 0
    for kind in KINDS:
        for number in registry.numbers(kind) if kind.follows else ():
            try:
                registry.record(kind, number)
            except Untrusted:
                registry.sign(kind, number)
                registry.record(kind, number)
                count += 1
    return count
