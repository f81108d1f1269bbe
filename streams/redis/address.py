"""Where the store is, users and passwords: the section [redis] of the TOML file, and what the adapter takes.

Owns the names, types and defaults of these settings, refuses contradictions, and shows no secret. Connects to nothing.
"""

from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct
from msgspec.structs import asdict

from streams import hosts
from streams.errors import ConfigError
from streams.redis.url import Url, parse, redacted

Text = Annotated[str, Meta(min_length=1)]
SECRETS = ("password", "sentinel_password")
FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
NEEDS = {  # a key, the key that it requires, and what that one is
    "username": ("password", "the user's"),
    "ssl_certfile": ("ssl_keyfile", "the key that belongs to the certificate"),
    "ssl_keyfile": ("ssl_certfile", "the certificate that the key belongs to"),
    "sentinel": ("sentinel_master", "the name under which the Sentinels know the store"),
    "sentinel_master": ("sentinel", "the Sentinels' host:port, several with commas"),
    "sentinel_username": ("sentinel_password", "the Sentinels'"),
    "sentinel_password": ("sentinel", "the Sentinels' host:port, several with commas"),
    "cluster": ("url", "the address of one of its nodes"),
}


class Address(Struct, frozen=True, kw_only=True):
    """`url`: the store's address, with a user and password in it, or in `username` and `password`.

    TLS is asked for by rediss://, and with Sentinels by any of the three files: `ssl_ca_certs` is a PEM file of the
    authorities to trust (None: the system's), `ssl_certfile` and `ssl_keyfile` our own certificate and key, where the
    store asks for one; `ssl_check_hostname = false` accepts a certificate that was issued for another name.
    `sentinel`: host:port of Sentinels, with commas, instead of a url; they know the store as `sentinel_master`.
    `cluster`: the url is one node of a Redis Cluster, which names the others. Without url and sentinel the embedded
    store is started. Secrets are never shown.
    """

    url: Text | None = None
    username: Text | None = None
    password: Text | None = None
    ssl_ca_certs: Text | None = None
    ssl_certfile: Text | None = None
    ssl_keyfile: Text | None = None
    ssl_check_hostname: bool = True
    sentinel: Text | None = None
    sentinel_master: Text | None = None
    sentinel_username: Text | None = None
    sentinel_password: Text | None = None
    cluster: bool = False

    def __post_init__(self) -> None:
        parts = parse(self.url) if self.url is not None else None
        for key, (other, what) in NEEDS.items():
            if getattr(self, key) and not getattr(self, other):
                raise ConfigError(f"redis.{key} needs redis.{other}, {what}")
        if self.sentinel and self.url:
            raise ConfigError("redis.url and redis.sentinel both say where the store is; set only one of them")
        self._check_user(parts)
        self._check_tls()
        if self.cluster and parts and (parts.database or parts.socket):
            raise ConfigError(
                "redis.cluster needs redis.url = redis://host:port or rediss://host:port; it has no database but 0"
            )
        if self.sentinel is not None and not all(at and at.port for at in self._sentinels):
            raise ConfigError(
                f"redis.sentinel must be host:port, several with commas; found {hosts.shown(self.sentinel)}"
            )

    @property
    def embedded(self) -> bool:
        """Whether no address is set, so that the embedded store is started."""
        return self.url is None and self.sentinel is None

    @property
    def local(self) -> bool:
        """Whether the url is a Unix socket's."""
        return (self.url or "").startswith("unix://")

    @property
    def tls(self) -> bool:
        """Whether the connection is encrypted."""
        by_files = self.sentinel is not None and any(getattr(self, key) for key in FILES)
        return by_files or (self.url or "").startswith("rediss://")

    @property
    def sentinels(self) -> list[tuple[str, int]]:
        """Host and port of each Sentinel."""
        return [(at.name, at.port) for at in self._sentinels if at and at.port]

    @property
    def _sentinels(self) -> list[hosts.Host | None]:
        return [hosts.parse(address.strip()) for address in (self.sentinel or "").split(",")]

    @property
    def shown(self) -> str:
        """The address for messages, without secrets."""
        return f"{self.sentinel_master} of {self.sentinel}" if self.sentinel else redacted(self.url or "")

    def _check_user(self, url: Url | None) -> None:
        if self.password and self.embedded:
            raise ConfigError("redis.password needs redis.url or redis.sentinel; the embedded store has no users")
        if self.password and url and url.user is not None:
            raise ConfigError("redis.url already has a user in it; remove that one, or redis.password")

    def _check_tls(self) -> None:
        keys = [key for key in FILES if getattr(self, key)] + ["ssl_check_hostname"] * (not self.ssl_check_hostname)
        if keys and not self.tls:
            raise ConfigError(f"redis.{keys[0]} needs redis.url = rediss://..., or redis.sentinel and ssl_ca_certs")
        for key in FILES:
            if (path := getattr(self, key)) and not Path(path).is_file():
                raise ConfigError(f"redis.{key} must be a file in PEM form; no such file: {hosts.shown(path)}")

    def __repr__(self) -> str:
        return f"Redis({', '.join(f'{key}={value!r}' for key, value in self.__rich_repr__())})"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        hidden = {key: "***" for key in SECRETS if getattr(self, key)}
        hidden |= {"url": redacted(self.url)} if self.url else {}
        return [(key, hidden.get(key, value)) for key, value in asdict(self).items()]


def address(at: Address | str) -> Address:
    """Return the settings; a bare url stands for settings with nothing else."""
    return Address(url=at) if isinstance(at, str) else at
