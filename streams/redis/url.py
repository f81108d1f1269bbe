"""The url of a store: redis://, rediss:// or unix://, read strictly, so that no part of a password is taken for a host.

Owns the grammar, what is wrong with a url, and showing one without what may be secret. Imports no client.
"""

import re
from typing import NamedTuple
from urllib.parse import unquote

from streams import hosts
from streams.errors import ConfigError

URL = "redis://[user:password@]host[:port][/number], rediss://... or unix://..."
ENCODED = "/, #, ?, @ and % of a password written as %2F, %23, %3F, %40 and %25"
REDIS_PORT = 6_379
MOST_SOCKET = 103  # bytes; Linux takes 107, macOS 103
URLS = re.compile(
    r"(?P<scheme>rediss?|unix)://(?:(?P<user>[^/?#@]*)@)?(?P<host>[^/?#@]*)(?P<path>/[^?#]*)?(?:\?(?P<query>[^#]*))?"
)
USER = re.compile(r"(?:%[0-9A-Fa-f]{2}|[^%\s\[\]])*")
KEYS = {  # what other programs write into a url's query, and our key for it
    "password": "redis.password",
    "username": "redis.username",
    "ssl_ca_certs": "redis.ssl_ca_certs",
    "ssl_certfile": "redis.ssl_certfile",
    "ssl_check_hostname": "redis.ssl_check_hostname",
    "ssl_keyfile": "redis.ssl_keyfile",
}
OTHERS = "ssl_cert_reqs", "socket_timeout", "socket_connect_timeout", "timeout", "max_connections", "protocol"


class Url(NamedTuple):
    """The parts of a url: `host` and `port`, or the path of a `socket`; `user` is None where the url names none."""

    scheme: str
    user: str | None
    host: str
    port: int
    socket: str
    database: int


def parse(text: str) -> Url:
    """Read a url.

    Raises:
        ConfigError: it is none; the message does not show it, because it may hold a password.
    """
    match = URLS.fullmatch(text)
    path = match["path"] or "" if match else ""
    if match is None or not USER.fullmatch(match["user"] or ""):
        raise _wrong()
    database = _query(match["query"])
    user = None if match["user"] is None else unquote(match["user"].partition(":")[0])
    if match["scheme"] == "unix":
        if match["host"] or len(path) < 2:
            raise _wrong()
        if len(unquote(path).encode()) > MOST_SOCKET:
            raise ConfigError(f"redis.url: a socket's path has at most {MOST_SOCKET} bytes, this one {len(path)}")
        return Url("unix", user, "", 0, unquote(path), database or 0)
    at = hosts.parse(match["host"])
    if at is None or not re.fullmatch(r"(?:/\d{0,9})?", path, re.ASCII):
        raise _wrong()
    number = int(path[1:] or 0) if database is None else database
    return Url(match["scheme"], user, at.name, at.port or REDIS_PORT, "", number)


def redacted(url: str) -> str:
    """Return a store's address without what may be secret: all before the host, and the whole if it has a query."""
    scheme, _, rest = re.sub(r"\?db=\d+$", "", url).partition("://")
    _, at, host = rest.rpartition("@")
    return f"{scheme}://{'***@' if at else ''}{host}" if rest and "?" not in rest else "***"


def _query(query: str | None) -> int | None:
    """Return the database that a query names: all that it may say."""
    if query is None:
        return None
    if match := re.fullmatch(r"db=(\d{1,9})", query, re.ASCII):
        return int(match[1])
    names = [part.partition("=")[0] for part in query.split("&")]
    if known := next((name for name in names if name in KEYS), None):
        raise ConfigError(f"redis.url takes no {known}: set {KEYS[known]}; the value is not shown")
    if other := next((name for name in names if name in OTHERS), None):
        right = ": redis.ssl_ca_certs names the authorities to trust" if other.startswith("ssl") else ""
        raise ConfigError(f"redis.url takes no {other}, only ?db=number{right}; the value is not shown")
    raise _wrong()


def _wrong() -> ConfigError:
    return ConfigError(f"redis.url must be {URL}, with {ENCODED}; the value is not shown, as it may hold a password")
