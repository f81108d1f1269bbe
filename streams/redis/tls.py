"""TLS: the client's options, a check of the files before anything connects, and why a store closed the connection.

Imports no client.
"""

import socket
import ssl
from typing import Any

from streams.errors import ConfigError
from streams.redis.address import FILES, Address
from streams.redis.url import parse

LOOK_S = 5.0  # a store that accepts us sends nothing, so its refusal is waited for only so long


def options(at: Address) -> dict[str, Any]:
    """Return the client's options for TLS.

    Raises:
        ConfigError: a file does not hold what it should; the message names the key of [redis].
    """
    if not at.tls:
        return {}
    context(at)
    files = {key: value for key in FILES if (value := getattr(at, key))}
    return {"ssl_check_hostname": at.ssl_check_hostname} | files | ({"ssl": True} if at.sentinel else {})


def context(at: Address) -> ssl.SSLContext:
    """Load the certificates.

    Raises:
        ConfigError: a file does not hold what it should; the message names the key of [redis].
    """
    loaded = ssl.create_default_context()
    loaded.check_hostname = at.ssl_check_hostname
    try:
        if at.ssl_ca_certs:
            loaded.load_verify_locations(at.ssl_ca_certs)
    except OSError as wrong:
        raise ConfigError(f"redis.ssl_ca_certs must hold certificates in PEM form: {wrong}") from None
    try:
        if at.ssl_certfile:
            # without a password OpenSSL would ask the terminal
            loaded.load_cert_chain(at.ssl_certfile, at.ssl_keyfile, password="")
    except (OSError, ValueError) as wrong:
        raise ConfigError(
            f"redis.ssl_certfile and redis.ssl_keyfile must be a certificate and its unencrypted key, as PEM: {wrong}"
        ) from None
    return loaded


def refusal(at: Address) -> ssl.SSLError | None:
    """Connect without the client to learn why the store closes connections; None where it does not say.

    The client writes first, and so may never read the reason.
    """
    url = parse(at.url or "")
    try:
        plain = socket.create_connection((url.host, url.port), LOOK_S)
        with plain, context(at).wrap_socket(plain, server_hostname=url.host) as encrypted:
            encrypted.recv(1)
    except ssl.SSLEOFError:
        return None
    except ssl.SSLError as wrong:
        return wrong
    except OSError:
        return None
    return None
