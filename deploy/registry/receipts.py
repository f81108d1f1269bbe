"""Receipts of forgetting: what was left out of a version, what it became, and what else must be erased; signed.

Owns a receipt's form, and that not one byte of it can change unseen. Does not know how anything is forgotten.

The file is JSON: `receipt`, `key` (the public one, base64) and `signature` (base64). What is signed is `receipt`
without the spaces between its parts, as `json.dumps(receipt, separators=(",", ":"), ensure_ascii=False)` writes it.
"""

import hashlib
from collections.abc import Iterable

import msgspec
from msgspec import Struct

from deploy.registry.signing import Key, name_of, signed_by
from streams.errors import Disagreement

FORMAT = 1


class Trace(Struct, frozen=True, kw_only=True):
    """What holds the events that are to be forgotten: `found` are offsets, files or digests in the place `where`.

    `unknown` says why nobody could look there; then it may hold them.
    """

    what: str
    where: str
    found: list[str] = []
    unknown: str | None = None


class Receipt(Struct, frozen=True, kw_only=True):
    """What was forgotten, of which version.

    `ids`: the SHA-256 of each id, sorted. `never` of them were in no sample that the version had learned, and `samples`
        were left out, marks included.
    `first`, `last`: the commits from whose state, and to whose, was learned again; `again` of the `learned` samples.
    `before`, `after`: the SHA-256 of the version's artifact, and of the one without these events.
    `at_ms`: when, in milliseconds since 1970, UTC. `fingerprint` is the environment; `environments` are others in which
        the commits were made.
    `erase`: what else holds the events.
    """

    format: int = FORMAT
    feed: str
    version: int
    ids: list[str]
    never: int
    samples: int
    first: int
    last: int
    again: int
    learned: int
    before: str
    after: str
    at_ms: int
    fingerprint: str
    environments: list[str]
    erase: list[Trace]


class Signed(Struct, frozen=True):
    """A receipt's file: the signature is of the receipt's bytes, by the key whose public half is `key`."""

    receipt: Receipt
    key: bytes
    signature: bytes


_encode, _decoder = msgspec.json.Encoder().encode, msgspec.json.Decoder(Signed)


def digests(ids: Iterable[str]) -> list[str]:
    """Return the SHA-256 of each id, as a receipt has them.

    >>> digests(["a1"])
    ['f55ff16f66f43360266b95db6f8fec01d76031054306ae4a4b380598f6cfd114']
    """
    return sorted(hashlib.sha256(one.encode()).hexdigest() for one in set(ids))


def sign(receipt: Receipt, key: Key) -> bytes:
    """Return the bytes of a receipt's file."""
    return _file(Signed(receipt, key.public, key.sign(_encode(receipt))))


def read(data: bytes, public: bytes | None = None) -> Signed:
    """Return the receipt in a file's bytes; it is whole, and signed by the key `public`, or else by that in the file.

    Raises:
        Disagreement: it is not; the message says what is wrong.
    """
    try:
        signed = _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as wrong:
        raise Disagreement(f"this is no receipt: {wrong}") from None
    if signed.receipt.format != FORMAT:
        raise Disagreement(f"the receipt has format {signed.receipt.format}; this version reads {FORMAT}")
    if public not in (None, signed.key):
        raise Disagreement(f"the key {name_of(signed.key)} signed the receipt, and not {name_of(public or b'')}")
    if _file(signed) != data or not signed_by(signed.key, _encode(signed.receipt), signed.signature):
        raise Disagreement("the receipt is not as it was signed: it was altered, or is cut off")
    return signed


def _file(signed: Signed) -> bytes:
    return msgspec.json.format(_encode(signed), indent=2) + b"\n"
