"""`Broker` as the client's settings, TLS included.

Owns the time limits, and the errors of certificate files, which show before anything connects. Imports no client.
"""

import ssl
from typing import Any

from streams.errors import ConfigError
from streams.kafka.broker import Broker

CONNECT_MS = 5_000  # how long a broker may take to answer at all
ANSWER_MS = 20_000  # how long a request may take before its future counts as failed


def settings(broker: Broker) -> dict[str, Any]:
    """Return the settings that consumer, producer and admin clients share.

    Raises:
        ConfigError: there is no address, or a file of [kafka] has the wrong contents.
    """
    return {
        "bootstrap_servers": broker.servers,
        "bootstrap_timeout_ms": CONNECT_MS,
        "security_protocol": broker.security_protocol,
        "ssl_context": context(broker) if broker.tls else None,
        "sasl_mechanism": broker.sasl_mechanism,
        "sasl_plain_username": broker.sasl_username,
        "sasl_plain_password": broker.sasl_password,
    }


def context(broker: Broker) -> ssl.SSLContext:
    """Load the certificates; TLS 1.2 or newer.

    Raises:
        ConfigError: a file has the wrong contents; the message names the key of [kafka].
    """
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.check_hostname = broker.ssl_check_hostname
    try:
        if broker.ssl_cafile is None:
            made.load_default_certs()
        else:
            made.load_verify_locations(broker.ssl_cafile)
    except OSError as wrong:
        raise ConfigError(f"kafka.ssl_cafile holds no certificates in PEM form: {wrong}") from None
    if broker.ssl_certfile is not None:
        _load_own(made, broker)
    return made


def _load_own(made: ssl.SSLContext, broker: Broker) -> None:
    try:  # without a password OpenSSL would ask the terminal
        made.load_cert_chain(str(broker.ssl_certfile), broker.ssl_keyfile, broker.ssl_password or "")
    except (OSError, ValueError) as wrong:
        raise ConfigError(
            f"kafka.ssl_certfile and kafka.ssl_keyfile are not a certificate and its key in PEM form, or "
            f"kafka.ssl_password is not the key's: {wrong}"
        ) from None
