"""A schema registry over HTTP, by Confluent's API, and the frame or header that names an event's schema.

Owns the requests, their secrets and what an answer means: an unknown schema is the event's fault, an unreachable
registry is retried, a refused user is a mistake in the configuration. Keeps every schema that it received. Does not
know what is in a schema. Needs no client library, because each schema is requested only once.
"""

import json
import re
import ssl
import time
from base64 import b64encode
from collections.abc import Callable, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import Request, urlopen
from uuid import UUID

import msgspec

from streams import hosts
from streams.errors import ConfigError, MalformedEvent, Unreachable
from streams.texts import FRAME_BYTES, GUID_BYTES, VALUE_HEADER

ANSWER_S = 10.0
UNKNOWN_S = 10.0  # an unknown schema is requested again only after so long: else each event of it would wait
MOST_UNKNOWN = 10_000
URLS = re.compile(r"(https?)://([^/?#@\s]*)(?:/[^?#@\s]*)?", re.ASCII)
MISSING = {40401, 40402, 40403}  # the registry's codes for: no such subject, version, schema
Id = int | str  # a number, or a GUID
T = TypeVar("T")


class Reference(msgspec.Struct, frozen=True):
    """A schema that another one imports as `name`."""

    name: str
    subject: str
    version: int


class Answer(msgspec.Struct, frozen=True):
    """A schema as the registry answers."""

    text: str = msgspec.field(name="schema")
    kind: str = msgspec.field(name="schemaType", default="AVRO")
    references: tuple[Reference, ...] = ()


class Schema(NamedTuple):
    """A schema's kind and text, and those that it imports, as (name, text), each after its own imports."""

    kind: str
    text: str
    imports: tuple[tuple[str, str], ...]


class Registry:
    """One registry by URL, with a `user` and `password`, or a bearer `token`; `ca` is a file of trusted certificates.

    Raises:
        ConfigError: the URL or the certificates cannot be used, a secret is in the URL, or a user and a token are set.
    """

    def __init__(
        self,
        url: str,
        *,
        user: str | None = None,
        password: str | None = None,
        token: str | None = None,
        ca: str | Path | None = None,
    ) -> None:
        match = URLS.fullmatch(url) if isinstance(url, str) else None
        if match is None or hosts.parse(match[2]) is None:
            raise ConfigError("a registry's URL must be http(s)://HOST[:PORT][/PATH]; user and password are arguments")
        if (user is None) != (password is None) or (user is not None and token is not None):
            raise ConfigError("a registry takes user and password, or a token")
        for name, secret in (("user", user), ("password", password), ("token", token)):
            if secret is not None and not (isinstance(secret, str) and secret.isprintable() and secret):
                raise ConfigError(f"a registry's {name} must be text without a line's end; it is not shown")
        if token is not None and not token.isascii():
            raise ConfigError("a registry's token must be ASCII; it is not shown")
        self._url = url.rstrip("/")
        self._authorization = _authorization(user, password, token)
        self._trust = _trust(ca) if match[1] == "https" else None

    def schema(self, number: Id, form: str = "") -> Schema:
        """Request a schema by its number or GUID, and all that it imports; `form` is the API's parameter `format`.

        Raises:
            MalformedEvent: no schema has this id.
            Unreachable: the registry does not answer.
            ConfigError: it refuses us, or is not a registry.
        """
        answer = self._ask(f"/schemas/{'guids' if isinstance(number, str) else 'ids'}/{number}", form)
        imports: dict[str, str] = {}
        self._import(answer, form, imports)
        return Schema(answer.kind, answer.text, tuple(imports.items()))

    def _import(self, answer: Answer, form: str, imports: dict[str, str]) -> None:
        for name, subject, version in ((r.name, r.subject, r.version) for r in answer.references):
            if name not in imports:
                imported = self._ask(f"/subjects/{quote(subject, safe='')}/versions/{version}", form)
                self._import(imported, form, imports)
                imports[name] = imported.text

    def _ask(self, path: str, form: str) -> Answer:
        request = Request(f"{self._url}{path}{'?format=' + form if form else ''}")
        if self._authorization:
            request.add_unredirected_header("Authorization", self._authorization)
        try:
            with urlopen(request, timeout=ANSWER_S, context=self._trust) as reply:
                return msgspec.json.decode(reply.read(), type=Answer)
        except HTTPError as wrong:
            with wrong:
                raise self._refused(path, wrong) from None
        except (URLError, HTTPException, OSError) as wrong:
            raise self._silent(wrong) from None
        except (msgspec.DecodeError, UnicodeDecodeError) as wrong:
            raise ConfigError(f"{self._url}{path} answers, but not as a schema registry: {wrong}") from None

    def _refused(self, path: str, wrong: HTTPError) -> Exception:
        if wrong.code == 404 and _code(wrong) in MISSING:
            return MalformedEvent(f"the registry has no {path.strip('/')}")
        if wrong.code in (401, 403):
            return ConfigError(f"the registry at {self._url} refuses the user or token: {wrong.code} {wrong.reason}")
        if wrong.code == 429 or wrong.code >= 500:
            return Unreachable(f"the registry at {self._url} answers {wrong.code} {wrong.reason}")
        if wrong.code == 404 and path.startswith("/schemas/guids/"):
            return ConfigError(
                f"{self._url}{path} answers 404: the event names its schema by a GUID, which registries "
                "know since version 8"
            )
        return ConfigError(f"{self._url}{path} answers {wrong.code} {wrong.reason}; is it a schema registry's URL?")

    def _silent(self, wrong: Exception) -> Exception:
        reason = getattr(wrong, "reason", wrong)
        if isinstance(reason, ssl.SSLCertVerificationError):
            return ConfigError(f"the registry at {self._url} has a certificate that `ca` does not vouch for: {reason}")
        return Unreachable(f"no schema registry answers at {self._url}: {reason}")


def check_registry(what: str, registry: object) -> None:
    """Check what a format was given as its registry.

    Raises:
        ConfigError: it is there, and no `Registry`.
    """
    if registry is not None and not isinstance(registry, Registry):
        raise ConfigError(f"{what}: registry must be a Registry(URL), got {type(registry).__name__}")


class Known(Generic[T]):
    """What was made of each schema, by its id; remembers for a while which ids are unknown."""

    def __init__(self, make: Callable[[Id], T], clock: Callable[[], float] = time.monotonic) -> None:
        self._make, self._clock = make, clock
        self._made: dict[Id, T] = {}
        self._unknown: dict[Id, tuple[float, str]] = {}

    def __call__(self, number: Id) -> T:
        """Return what was made of a schema.

        Raises:
            MalformedEvent: no schema has this id, or what making it raises.
        """
        if number in self._made:
            return self._made[number]
        until, reason = self._unknown.get(number, (float("-inf"), ""))
        if self._clock() < until:
            raise MalformedEvent(reason)
        try:
            made = self._made[number] = self._make(number)
        except MalformedEvent as wrong:
            if len(self._unknown) >= MOST_UNKNOWN:
                self._unknown.clear()
            self._unknown[number] = self._clock() + UNKNOWN_S, str(wrong)
            raise
        return made


def identified(value: bytes, headers: Sequence[tuple[str, bytes]], name: str) -> tuple[Id, bytes, bytes | None]:
    """Return a value's schema id, the value itself, and what follows the id in the header `name`, if it is there.

    The id is in the header, as newer serializers write it, or else before the value: a zero and four bytes, or a one
    and the sixteen bytes of a GUID.

    Raises:
        MalformedEvent: it is in neither.
    """
    if (header := dict(headers).get(name)) is not None:
        number, rest = _split(header, f"header {name!r}")
        return number, value, rest
    return *_split(value, "value" if name == VALUE_HEADER else "key"), None


def _split(value: bytes, where: str) -> tuple[Id, bytes]:
    if len(value) >= FRAME_BYTES and value[0] == 0:
        return int.from_bytes(value[1:FRAME_BYTES], "big"), value[FRAME_BYTES:]
    if len(value) >= GUID_BYTES and value[0] == 1:
        return str(UUID(bytes=value[1:GUID_BYTES])), value[GUID_BYTES:]
    raise MalformedEvent(
        f"{where} is not in the registry's wire format, a zero and a schema id, or a one and a GUID: begins with "
        f"{value[:FRAME_BYTES]!r}"
    )


def _authorization(user: str | None, password: str | None, token: str | None) -> str:
    if token is not None:
        return f"Bearer {token}"
    return "Basic " + b64encode(f"{user}:{password}".encode()).decode() if user is not None else ""


def _trust(ca: str | Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca)
    except OSError as wrong:
        raise ConfigError(f"ca {str(ca)!r} is not a file of PEM certificates: {wrong}") from None


def _code(wrong: HTTPError) -> int:
    try:
        return int(json.loads(wrong.read())["error_code"])
    except (ValueError, KeyError, TypeError, OSError, HTTPException):
        return 0
