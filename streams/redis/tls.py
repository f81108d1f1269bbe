"""TLS: what the client takes, what is wrong with a file before anyone connects, and why a store hung up.

Imports no client.
"""

import socket
import ssl
from typing import Any
from urllib.parse import urlsplit

from streams.errors import ConfigError
from streams.redis.address import FILES, Address

REDIS_PORT = 6379
LOOK_S = 1.0  # a store that takes us says nothing for as long


def options(at: Address) -> dict[str, Any]:
    """Give what the client takes.

    Raises:
        ConfigError: a file does not hold what it should; names the key of [redis].
    """
    if not at.tls:
        return {}
    context(at)
    given = {key: value for key in FILES if (value := getattr(at, key))}
    return {"ssl_check_hostname": at.ssl_check_hostname} | given | ({"ssl": True} if at.sentinel else {})


def context(at: Address) -> ssl.SSLContext:
    """Load the certificates."""
    made = ssl.create_default_context()
    made.check_hostname = at.ssl_check_hostname
    try:
        if at.ssl_ca_certs:
            made.load_verify_locations(at.ssl_ca_certs)
    except OSError as wrong:
        raise ConfigError(f"redis.ssl_ca_certs holds no certificates in PEM form: {wrong}") from None
    try:
        if at.ssl_certfile:
            made.load_cert_chain(at.ssl_certfile, at.ssl_keyfile, password="")  # else OpenSSL asks the terminal
    except OSError as wrong:
        raise ConfigError(
            f"redis.ssl_certfile and redis.ssl_keyfile are no certificate and its unencrypted key in PEM form: {wrong}"
        ) from None
    return made


def refusal(at: Address) -> ssl.SSLError | None:
    """Ask the port by hand why it hangs up: who writes first, as the client does, may never read the reason."""
    place = urlsplit(at.url or "")
    try:
        plain = socket.create_connection((str(place.hostname), place.port or REDIS_PORT), LOOK_S)
        with plain, context(at).wrap_socket(plain, server_hostname=place.hostname) as encrypted:
            encrypted.recv(1)
    except ssl.SSLEOFError:
        return None
    except ssl.SSLError as wrong:
        return wrong
    except OSError:
        return None
    return None
