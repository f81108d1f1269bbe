"""A receipt of forgetting: whole and signed, or refused."""

import base64
import hashlib
import json
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from deploy.operate.versions.receipts import check
from deploy.registry.receipts import Receipt, Trace, digests, read, sign
from deploy.registry.signing import Key, own_key, private_key, public_key
from deploy.registry.storage import Disk
from streams.errors import ConfigError, Disagreement

RECEIPT = Receipt(
    feed="ads", version=3, ids=digests(["a1", "größe"]), never=1, samples=2, first=64, last=70, again=120,
    learned=1_400, before="b" * 64, after="a" * 64, at_ms=1_700_000_000_000, fingerprint="torch 2", environments=[],
    erase=[
        Trace(what="records", where="ads.outcomes:0", found=["17", "93"]),
        Trace(what="entries of the store", where="ads", unknown="no store answers, “é”"),
    ],
)  # fmt: skip


@pytest.fixture(scope="module")
def key() -> Key:
    return Key(Ed25519PrivateKey.generate())


def test_a_receipt_is_what_was_signed(key: Key) -> None:
    signed = read(sign(RECEIPT, key), key.public)
    assert signed.receipt == RECEIPT
    assert read(sign(RECEIPT, key)) == signed


def test_it_holds_the_digests_of_ids_and_not_the_ids(key: Key) -> None:
    assert RECEIPT.ids == sorted(hashlib.sha256(one.encode()).hexdigest() for one in ("a1", "größe"))
    assert b"gr\xc3\xb6" not in sign(RECEIPT, key)


def test_every_byte_counts(key: Key) -> None:
    """A flipped bit is refused wherever it is: in the receipt, the key, the signature, and between them."""
    data = sign(RECEIPT, key)
    for at in range(len(data)):
        for bit in (0, 3, 6):
            flipped = bytearray(data)
            flipped[at] ^= 1 << bit
            with pytest.raises(Disagreement):
                read(bytes(flipped))


@pytest.mark.parametrize(
    "change", [lambda data: data + b" ", lambda data: data[:-1], lambda data: data[:200], bytes.upper]
)
def test_what_was_added_or_cut_off_is_refused(key: Key, change: object) -> None:
    assert callable(change)
    with pytest.raises(Disagreement):
        read(change(sign(RECEIPT, key)))


def test_a_receipt_that_another_key_signed_is_refused(key: Key) -> None:
    other = Key(Ed25519PrivateKey.generate())
    with pytest.raises(Disagreement, match=r"the key \w{16} signed the receipt, and not \w{16}"):
        read(sign(RECEIPT, other), key.public)


def test_any_program_can_check_it(key: Key) -> None:
    """As the documentation says: with the standard library and an Ed25519 signature."""
    parts = json.loads(sign(RECEIPT, key))
    data = json.dumps(parts["receipt"], separators=(",", ":"), ensure_ascii=False).encode()
    public = Ed25519PublicKey.from_public_bytes(base64.b64decode(parts["key"]))
    public.verify(base64.b64decode(parts["signature"]), data)


def test_a_registry_s_key_is_made_once_and_is_its_owner_s_alone(tmp_path: Path) -> None:
    made = own_key(Disk(tmp_path))
    assert own_key(Disk(tmp_path)).public == made.public == public_key(tmp_path / "receipts.pub")
    assert private_key(tmp_path / "receipts.pem").public == made.public
    assert stat.S_IMODE((tmp_path / "receipts.pem").stat().st_mode) == 0o600


def test_a_file_is_checked_by_the_key_of_another_file(tmp_path: Path) -> None:
    (tmp_path / "receipt.json").write_bytes(sign(RECEIPT, own_key(Disk(tmp_path))))
    assert check(tmp_path / "receipt.json", tmp_path / "receipts.pub").receipt == RECEIPT
    with pytest.raises(ConfigError, match=r"receipts\.pem must be a public Ed25519 key"):
        check(tmp_path / "receipt.json", tmp_path / "receipts.pem")
    with pytest.raises(ConfigError, match=r"cannot read .*other\.json"):
        check(tmp_path / "other.json")
    with pytest.raises(ConfigError, match=r"cannot read the key .*other\.pub"):
        check(tmp_path / "receipt.json", tmp_path / "other.pub")


def test_another_kind_of_key_is_refused(tmp_path: Path) -> None:
    other, mine = X25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    locked = mine.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    files = {
        "text": b"a key",
        "other": other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        "locked": locked,
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ConfigError, match=f"{name} must be a private Ed25519 key in PEM without a password"):
            private_key(tmp_path / name)
    (tmp_path / "x").write_bytes(other.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    with pytest.raises(ConfigError, match="must be a public Ed25519 key in PEM"):
        public_key(tmp_path / "x")
