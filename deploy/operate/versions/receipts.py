"""A receipt's file checked, offline.

Owns reading it. What a receipt is, and when it is whole, is `deploy/registry/receipts.py`'s.
"""

from pathlib import Path

from deploy.registry.receipts import Signed, read
from deploy.registry.signing import public_key
from streams.errors import ConfigError


def check(file: Path, key: Path | None = None) -> Signed:
    """Return the receipt in a file, which must be signed by the public key in the file `key`, or by that it names.

    Raises:
        ConfigError: a file cannot be read, or holds no such key.
        Disagreement: the receipt is not as it was signed, or another key signed it.
    """
    public = public_key(key) if key else None
    try:
        data = file.read_bytes()
    except OSError as wrong:
        raise ConfigError(f"cannot read {file}: {wrong.strerror}") from None
    return read(data, public)
