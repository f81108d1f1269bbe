"""Where a Kafka broker is and how to log in: the section [kafka] of the TOML file, and what the adapter takes.

Owns names, types, defaults and contradictions of these settings, and that no secret is printed. Knows no client library
and connects to nothing.
"""

from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct
from msgspec.structs import asdict

from streams import hosts
from streams.errors import ConfigError

Text = Annotated[str, Meta(min_length=1)]
REQUEST_BYTES = 1 << 20  # of a record, unless it is set
LEAST_REQUEST_BYTES = 1 << 11  # what a topic of ours must take
MOST_REQUEST_BYTES = 1 << 30  # Kafka's numbers have 31 bits, and a batch is larger than its record
SECRETS = ("ssl_password", "sasl_password")
FILES = ("ssl_cafile", "ssl_certfile", "ssl_keyfile")
SASL = ("sasl_mechanism", "sasl_username", "sasl_password")


class Broker(Struct, frozen=True, kw_only=True):
    """`bootstrap`: host:port of a broker, or several with commas; None starts the embedded broker.

    `embedded` says where the embedded broker keeps its log: in memory, or on disk, so that the next run goes on.

    `security_protocol` is the listener's: SSL and SASL_SSL encrypt, SASL_PLAINTEXT and SASL_SSL ask for a user. With
    TLS, `ssl_cafile` is a PEM file of the authorities to trust (None: the system's); `ssl_certfile`, `ssl_keyfile` and
    `ssl_password` are our own certificate, its key and the key's password, for a broker that asks for a certificate.
    Without `ssl_check_hostname` a certificate that was issued for another name is accepted. With SASL,
    `sasl_mechanism`, `sasl_username` and `sasl_password` are all needed. Passwords are never printed.
    `max_request_bytes` is the largest record that we send, with its key and headers (None: 1 MiB, or what its topic
    takes where that is less).
    """

    bootstrap: Text | None = None
    embedded: Literal["memory", "durable"] = "memory"
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    ssl_cafile: Text | None = None
    ssl_certfile: Text | None = None
    ssl_keyfile: Text | None = None
    ssl_password: Text | None = None
    ssl_check_hostname: bool = True
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    sasl_username: Text | None = None
    sasl_password: Text | None = None
    max_request_bytes: Annotated[int, Meta(ge=LEAST_REQUEST_BYTES, le=MOST_REQUEST_BYTES)] | None = None

    def __post_init__(self) -> None:
        if self.bootstrap is not None and not all(map(hosts.parse, self.servers)):
            raise ConfigError(
                f"kafka.bootstrap must be host:port of a broker, or several with commas, without a scheme or a user "
                f"(kafka.sasl_username and kafka.sasl_password are for that); found {hosts.shown(self.bootstrap)}"
            )
        tls = [*FILES, "ssl_password"]
        self._refuse(tls, unless=self.tls, right="'SSL' or 'SASL_SSL'")
        if not self.ssl_check_hostname:
            self._refuse(["ssl_check_hostname"], unless=self.tls, right="'SSL' or 'SASL_SSL'")
        self._refuse(SASL, unless=self.sasl, right="'SASL_SSL' or 'SASL_PLAINTEXT'")
        missing = [f"kafka.{key}" for key in SASL if self.sasl and getattr(self, key) is None]
        if missing:
            raise ConfigError(f"kafka.security_protocol = {self.security_protocol!r} needs {', '.join(missing)}")
        for key in ("ssl_keyfile", "ssl_password"):
            if getattr(self, key) is not None and self.ssl_certfile is None:
                raise ConfigError(f"kafka.{key} needs kafka.ssl_certfile, the certificate that the key belongs to")
        for key in FILES:
            if (path := getattr(self, key)) is not None and not Path(path).is_file():
                raise ConfigError(f"kafka.{key} must be a file in PEM form; there is no file {hosts.shown(path)}")

    @property
    def servers(self) -> list[str]:
        """The addresses of `bootstrap`."""
        if self.bootstrap is None:
            raise ConfigError("kafka.bootstrap must be host:port of a broker; it is not set")
        return [server.strip() for server in self.bootstrap.split(",")]

    @property
    def request_bytes(self) -> int:
        """The largest record that we send."""
        return self.max_request_bytes or REQUEST_BYTES

    @property
    def tls(self) -> bool:
        """Whether the connection is encrypted."""
        return self.security_protocol in ("SSL", "SASL_SSL")

    @property
    def sasl(self) -> bool:
        """Whether the broker asks for a user."""
        return self.security_protocol in ("SASL_PLAINTEXT", "SASL_SSL")

    def _refuse(self, keys: "list[str] | tuple[str, ...]", *, unless: bool, right: str) -> None:
        misplaced = [key for key in keys if not unless and getattr(self, key) is not None]
        if misplaced:
            raise ConfigError(
                f"kafka.{misplaced[0]} needs kafka.security_protocol = {right}; it is {self.security_protocol!r}"
            )

    def __repr__(self) -> str:
        return f"Kafka({', '.join(f'{key}={value!r}' for key, value in self.__rich_repr__())})"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        return [(key, "***" if key in SECRETS and value else value) for key, value in asdict(self).items()]


def broker(at: Broker | str) -> Broker:
    """Return the settings; an address alone means a broker without security."""
    return Broker(bootstrap=at) if isinstance(at, str) else at
