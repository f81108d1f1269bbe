"""Objects in a bucket: S3 and what speaks its protocol, Google Cloud Storage, Azure; by obstore.

Owns how long is waited for an answer, and what is said of a place that gives none. Credentials are obstore's affair: it
has them from the environment, and no message of ours names them. The only file that opens obstore.

A create is a PUT with `If-None-Match: *`, of which the place lets one win. A refusal may be its own doing (the first
answer was lost, and the request was sent again), so it is read back: equal bytes have won. Where nothing is there, as
S3 refuses a create while a delete is under way, it is sent again.
"""

import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cached_property
from importlib import import_module
from typing import Any

from streams.errors import ConfigError, RegistryUnwritable

ANSWER_S, TRIES, TRY_S = 5, 1, 6  # a request, how often it is sent again, and until when; the roles say that they wait
AGAIN = 3  # creates that are refused though nothing is there
PART = 4 << 20  # bytes that are sent or read within ANSWER_S; for more there is more time
EXTRA = "needs obstore: pip install 'shadowstream[object]'"
PROBE = "probe"
LINE = 160  # characters of a client's message
TOOK = re.compile(r" in [\d.]+[mµ]?s(, after \d+ retries, max_retries: \d+, retry_timeout: \w+)?( -)?")


class Cloud:
    """Objects below an address, `s3://BUCKET/PREFIX`."""

    def __init__(self, address: str) -> None:
        """Nothing is asked yet.

        Raises:
            ConfigError: the extra is not installed, or the address or the credentials are none.
        """
        self._address = address
        try:
            self._obstore = import_module("obstore")
            self._stores = import_module("obstore.store")
            self._failed = (import_module("obstore.exceptions").BaseError, OSError, ValueError)
        except ImportError:
            raise ConfigError(f"registry.path {address} {EXTRA}") from None
        self._clients = dict[int, Any]()
        with self._opening():
            self._client(0)

    def __reduce__(self) -> tuple[type["Cloud"], tuple[str]]:
        return Cloud, (self._address,)

    def create(self, name: str, data: bytes, *, private: bool = False) -> bool:
        """Create an object, or return False because another one is there.

        Raises:
            RegistryUnwritable: the place does not answer, or refuses.
        """
        for _ in range(AGAIN):
            if self._put(name, data):
                return True
            if (found := self.get(name)) is not None:
                return found == data
        raise RegistryUnwritable(f"{self._address}/{name} is refused as if it were there, and it is not")

    def get(self, name: str) -> bytes | None:
        """Return an object, None if there is none.

        Raises:
            RegistryUnwritable: the place does not answer, or refuses.
        """
        with self._said(name):
            try:
                found = self._obstore.get(self._client(0), name)
                size = int(found.meta["size"])
                if size <= PART:
                    return bytes(found.bytes())
                parts = [(start, min(start + PART, size)) for start in range(0, size, PART)]
                return b"".join(self._range(name, start, end) for start, end in parts)
            except FileNotFoundError:
                return None

    def list(self, folder: str, after: str = "") -> list[str]:
        """Return the names in a folder that come after a name, in their order.

        Raises:
            RegistryUnwritable: the place does not answer, or refuses.
        """
        begin = f"{folder}/"
        return sorted(name for name in self._all(folder, after) if name > after and name[len(begin) :][:1] != ".")

    def delete(self, name: str) -> None:
        """Delete an object; it may be gone already.

        Raises:
            RegistryUnwritable: the place does not answer, or refuses.
        """
        with self._said(name):
            try:
                self._obstore.delete(self._client(0), name)
            except FileNotFoundError:
                return

    def replace(self, name: str, data: bytes) -> None:
        """Put bytes in the place of an object.

        Raises:
            RegistryUnwritable: the place does not answer, or refuses.
        """
        with self._said(name):
            self._obstore.put(self._client(len(data)), name, data, use_multipart=False)

    def move(self, name: str, to: str) -> None:
        """Copy an object to another name within the bucket, then delete it; it may be gone already.

        Raises:
            RegistryUnwritable: the place does not answer, or refuses.
        """
        with self._said(name):
            try:
                self._obstore.copy(self._client(0), name, to)
            except FileNotFoundError:
                return
        self.delete(name)

    def sizes(self) -> dict[str, int]:
        """Return the bytes of every object, by name.

        Raises:
            RegistryUnwritable: the place does not answer, or refuses.
        """
        return dict(sorted(self._all().items()))

    def probe(self) -> None:
        """Check that the place keeps what is created: one create of two wins, and the object is listed.

        Raises:
            ConfigError: it does not; a record would be lost there sooner or later.
            RegistryUnwritable: it does not answer, or refuses.
        """
        folder, name = PROBE, f"{PROBE}/{uuid.uuid4().hex}"
        first, second = self._put(name, b"first"), self._put(name, b"second")
        kept, listed = self.get(name), self.list(folder)
        self.delete(name)
        if not first or second or kept != b"first":
            raise ConfigError(
                f"registry.path {self._address}: the place lets a second create take the first one's place (it ignores "
                "If-None-Match), so two runs would overwrite each other's commits. Use one that does not: Amazon S3, "
                "Google Cloud Storage, Azure, MinIO, Ceph or SeaweedFS of today"
            )
        if name not in listed:
            raise ConfigError(f"registry.path {self._address}: what was created is not listed at once")

    def _put(self, name: str, data: bytes) -> bool:
        with self._said(name):
            try:
                self._obstore.put(self._client(len(data)), name, data, mode="create", use_multipart=False)
            except self._refused:
                return False
        return True

    @cached_property
    def _refused(self) -> tuple[type[Exception], ...]:
        errors = import_module("obstore.exceptions")
        return (errors.AlreadyExistsError, errors.PreconditionError, FileExistsError)

    def _range(self, name: str, start: int, end: int) -> bytes:
        return bytes(self._obstore.get_range(self._client(0), name, start=start, end=end))

    def _all(self, folder: str | None = None, after: str = "") -> dict[str, int]:
        with self._said(folder or ""):
            found = self._obstore.list(self._client(0), folder, offset=after or None, chunk_size=1_000)
            return {meta["path"]: int(meta["size"]) for chunk in found for meta in chunk}

    def _client(self, size: int) -> Any:
        """Return a client that waits as long as so many bytes need."""
        parts = max(0, (size - 1) // PART).bit_length()
        if parts not in self._clients:
            answer, retry = timedelta(seconds=ANSWER_S << parts), timedelta(seconds=TRY_S)
            self._clients[parts] = self._stores.from_url(
                self._address,
                client_options={"timeout": answer, "connect_timeout": timedelta(seconds=ANSWER_S), "allow_http": True},
                retry_config={"max_retries": TRIES, "retry_timeout": retry},
            )
        return self._clients[parts]

    @contextmanager
    def _opening(self) -> Iterator[None]:
        try:
            yield
        except self._failed as wrong:
            raise ConfigError(f"registry.path {self._address} cannot be opened: {line(wrong)}") from None

    @contextmanager
    def _said(self, name: str) -> Iterator[None]:
        """Have an error say what does not answer, and why."""
        try:
            yield
        except FileNotFoundError as wrong:
            raise RegistryUnwritable(f"{self._address} is not there, or has no such bucket: {line(wrong)}") from None
        except self._failed as wrong:
            raise RegistryUnwritable(f"{self._address}/{name}: {line(wrong)}") from None


def line(wrong: Exception) -> str:
    """Return an error's text in a line, without addresses, which may hold secrets, times, and the client's workings.

    >>> line(ValueError("Generic S3 error: Error performing PUT http://h/b in 6.1s\\n\\nDebug source:\\nGeneric { … }"))
    'Generic S3 error: Error performing PUT'
    """
    text = re.sub(r" \w+://\S+", "", re.split(r"\n\s*\n?Debug source|\nDebug", str(wrong))[0])
    return TOOK.sub(":", re.sub(r"\s+", " ", text)).strip()[:LINE].rstrip(" :")
