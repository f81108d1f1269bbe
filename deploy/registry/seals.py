"""Sealed records: signed, bound to their feed and place, and to the records that they follow from.

A sealed file is the record's JSON, a line feed, and a `Seal` as JSON. Its signature (Ed25519, RFC 8032) is of the
seal's other fields and the record's SHA-256. Through `follows` a chain of digests runs from a version, by its
candidate, its verdict and the version before, to a commit, and by the commits' own digests of each other to the log's
first sample. Owns the seal, and what is wrong with one. Does not know files.
"""

import base64
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NoReturn

import msgspec
from msgspec import Struct

from deploy.registry.signing import Key, name_of, signed_by
from streams.errors import Untrusted

MARK = b"\n"  # no record's JSON has a line feed
SIGN = "an earlier release made it, or somebody else; `shadowstream sign` signs what is there"


class Seal(Struct, frozen=True, kw_only=True):
    """Who signed a record, and what it is.

    `place` is its kind and number, `champion/3`; `follows` has the SHA-256 of other records' files, by their places;
    `key` is the public key in hexadecimal digits, and `signature` is in Base64.
    """

    place: str
    feed: str
    follows: dict[str, str]
    key: str
    signature: str = ""

    def signs(self, record: bytes) -> bytes:
        """Return the bytes that are signed."""
        unsigned = msgspec.structs.replace(self, signature="")
        return msgspec.json.encode(unsigned, order="deterministic") + MARK + digest(record).encode()


@dataclass(frozen=True)
class Seals:
    """One feed's seals: `key` makes them, and records are taken that one of the keys `trusted` has signed."""

    feed: str
    key: Key | None = None
    trusted: frozenset[bytes] = field(default=frozenset())

    def seal(self, place: str, record: bytes, follows: Mapping[str, str]) -> bytes:
        """Return a record's file."""
        if self.key is None:
            return record
        seal = Seal(place=place, feed=self.feed, follows=dict(follows), key=self.key.public.hex())
        signature = base64.b64encode(self.key.sign(seal.signs(record))).decode()
        return record + MARK + msgspec.json.encode(msgspec.structs.replace(seal, signature=signature))

    def check(self, place: str, data: bytes) -> Seal:
        """Return the seal of a record's file.

        Raises:
            Untrusted: there is none, it is another record's, or no trusted key has signed what the file holds.
        """
        record, seal = opened(data)
        if seal is None:
            _refuse(place, f"is not signed: {SIGN}")
        if (seal.place, seal.feed) != (place, self.feed):
            _refuse(place, f"is that of {seal.place} of feed {seal.feed!r}")
        public = bytes.fromhex(seal.key)
        if public not in self.trusted:
            _refuse(place, f"was signed by the key {name_of(public)}, which is not one of registry.trusted")
        if not signed_by(public, seal.signs(record), base64.b64decode(seal.signature)):
            _refuse(place, "is not as it was signed")
        return seal


def opened(data: bytes) -> tuple[bytes, Seal | None]:
    """Return a file's record and its seal, None where it has none that can be read."""
    record, _, text = data.partition(MARK)
    try:
        seal = msgspec.json.decode(text, type=Seal)
        bytes.fromhex(seal.key), base64.b64decode(seal.signature, validate=True)
    except (msgspec.DecodeError, ValueError):
        return record, None
    return record, seal


def broken(follows: Mapping[str, str], found: Iterable[tuple[str, bytes | None]]) -> str | None:
    """Return what is wrong with the records that another follows from; `found` has their files, by place."""
    for place, data in found:
        if data is None:
            return f"follows from {place}, which is missing"
        if digest(data) != follows[place]:
            return f"follows from another {place} than the one that is there"
    return None


def digest(data: bytes) -> str:
    """Return the SHA-256 of a file."""
    return hashlib.sha256(data).hexdigest()


def _refuse(place: str, why: str) -> NoReturn:
    raise Untrusted(f"{place} {why}")
