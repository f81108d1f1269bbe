"""Ed25519 signatures (RFC 8032), and the key that makes ours.

Owns keys: their files and their names for people. Does not know what is signed. The only file that imports
cryptography.
"""

import hashlib
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from deploy.registry.storage.objects import Place
from streams.errors import ConfigError

PRIVATE, PUBLIC = "receipts.pem", "receipts.pub"
PEM = "-----BEGIN"


class Key:
    """A key that signs; `public` is its other half, 32 bytes."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.public = private.public_key().public_bytes_raw()

    def sign(self, data: bytes) -> bytes:
        """Return the signature of these bytes, 64 bytes."""
        return self._private.sign(data)


def own_key(objects: Place) -> Key:
    """Return the key that is kept in a registry; the first call makes it, and keeps its public half beside it.

    Raises:
        ConfigError: what is kept is no such key.
    """
    made = Ed25519PrivateKey.generate()
    pem = made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    objects.create(PRIVATE, pem, private=True)
    key = _private(objects.get(PRIVATE) or b"", f"the registry's {PRIVATE}")
    public = Ed25519PublicKey.from_public_bytes(key.public)
    objects.create(PUBLIC, public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return key


def private_key(path: Path) -> Key:
    """Read a private key: PEM, Ed25519, without a password.

    Raises:
        ConfigError: it is none, or cannot be read.
    """
    return _private(_read(path), str(path))


def _private(data: bytes, where: str) -> Key:
    try:
        key = load_pem_private_key(data, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as wrong:
        raise ConfigError(f"{where} {WANTED['private']}: {wrong}") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"{where} {WANTED['private']}; it has another kind of key")
    return Key(key)


def key_of(text: str) -> Key:
    """Read a private key: its PEM text, or the path of a file that has it.

    Raises:
        ConfigError: it is none, or cannot be read.
    """
    return _private(text.encode(), "the key") if text.lstrip().startswith(PEM) else private_key(Path(text))


def public_key(path: Path) -> bytes:
    """Read a public key: PEM, Ed25519; return its 32 bytes.

    Raises:
        ConfigError: it is none, or cannot be read.
    """
    return public_half(_read(path), str(path))


def public_half(data: bytes, where: str) -> bytes:
    """Return the 32 bytes of a public key, given as PEM; `where` it is from is for people.

    Raises:
        ConfigError: it is no such key.
    """
    try:
        key = load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm) as wrong:
        raise ConfigError(f"{where} {WANTED['public']}: {wrong}") from None
    if not isinstance(key, Ed25519PublicKey):
        raise ConfigError(f"{where} {WANTED['public']}; it has another kind of key")
    return key.public_bytes_raw()


WANTED = {
    "private": "must be a private Ed25519 key in PEM without a password, as `openssl genpkey -algorithm ed25519` makes",
    "public": "must be a public Ed25519 key in PEM, as `openssl pkey -pubout` makes of a private one",
}


def signed_by(public: bytes, data: bytes, signature: bytes) -> bool:
    """Return whether the key with this public half signed these bytes."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, data)
    except (InvalidSignature, ValueError):
        return False
    return True


def name_of(public: bytes) -> str:
    """Return a public key's name for people: the first 16 hexadecimal digits of its SHA-256."""
    return hashlib.sha256(public).hexdigest()[:16]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as wrong:
        raise ConfigError(f"cannot read the key {path}: {wrong.strerror}") from None
