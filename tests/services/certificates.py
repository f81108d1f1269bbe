"""Certificates for a test's TLS: an authority, and what it signs, by the `openssl` command.

Knows nothing of who uses them. A key and its certificate go into one PEM file, in that order, as Kafka wants them.
"""

import subprocess
from pathlib import Path

EXTENSIONS = "subjectAltName=IP:127.0.0.1"


class Authority:
    """Signs; its own certificate is at `path`."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self.path, self._key = folder / f"{name}.pem", folder / f"{name}.key"
        _openssl("req", "-x509", *_new(name), "-keyout", self._key, "-out", self.path, "-days", "2")

    def sign(self, name: str, *, password: str | None = None, extensions: str = EXTENSIONS) -> Path:
        """Make a key, encrypted if there is a password, and its certificate."""
        key, request, signed = (self._folder / f"{name}.{kind}" for kind in ("key", "csr", "crt"))
        _openssl("req", *_new(name), "-keyout", key, "-out", request, "-addext", extensions)
        _openssl(
            *("x509", "-req", "-in", request, "-CA", self.path, "-CAkey", self._key, "-CAcreateserial"),
            *("-days", "2", "-copy_extensions", "copy", "-out", signed),
        )
        if password:
            _openssl("pkcs8", "-topk8", "-in", key, "-out", f"{key}.enc", "-passout", f"pass:{password}")
            key = Path(f"{key}.enc")
        both = self._folder / f"{name}.pem"
        both.write_bytes(key.read_bytes() + signed.read_bytes())
        return both


def _new(name: str) -> list[str]:
    return ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}"]


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)
