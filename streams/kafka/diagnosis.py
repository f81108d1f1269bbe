"""Why no client can connect: asks the broker's port by hand.

The client retries a failed handshake or login until its time is up, and then reports only that. Owns three requests
(SaslHandshake, whose answer shows what a listener expects, SaslAuthenticate, and Metadata, which shows where clients
are sent on to) and the message for each finding. Of
the client it uses only what turns a password into the tokens of a login.
"""

import socket
import ssl
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

from streams import hosts
from streams.kafka.broker import Broker
from streams.kafka.connection import context
from streams.kafka.internals import get_sasl_mechanism

PROBE_S = 10.0
ADVERTISED_S = 3.0  # for an address that a broker advertises
KAFKA_PORT = 9_092
METADATA, HANDSHAKE, AUTHENTICATE = 3, 17, 36  # Kafka's numbers of the requests
ILLEGAL_SASL_STATE = 34
WRONG_HOST = (62, 64)  # OpenSSL's X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH


class Listener(NamedTuple):
    """What answered: the SASL mechanisms that it offers, or None if it asks for no user."""

    mechanisms: list[str] | None


def refusal(broker: Broker) -> str | None:
    """Return what is wrong and what would be right; None where nobody answers, or nothing is wrong."""
    for server in broker.servers:
        with suppress(OSError):
            if said := _about(broker, server):
                return said
    return None


def advertised(broker: Broker) -> str | None:
    """Return which address a broker that answers sends its clients to, where none can connect; else None."""
    for server in broker.servers:
        with suppress(OSError, struct.error, UnicodeDecodeError):
            address = _address(server)
            with _channel(broker, address, tls=broker.tls) as channel:
                if _enter(broker, address, channel):
                    return None
                brokers = _brokers(_call(channel, METADATA, struct.pack(">i", 0)))
            for host, port in brokers:
                if said := _unreachable(host, port):
                    return (
                        f"{server} answers, and sends its clients on to {host}:{port}, which {said}; "
                        "advertised.listeners of the broker must be an address that this machine can reach"
                    )
    return None


def unanswered(broker: Broker) -> str:
    """Return the message that no broker answers, with why for each address of `kafka.bootstrap`."""
    found = {server: _unreachable(*_address(server)) for server in broker.servers}
    why = "; ".join(f"{server} {said or 'takes connections, but answers nothing'}" for server, said in found.items())
    return f"no Kafka broker answers at {broker.bootstrap}: {why}; is it running, and is kafka.bootstrap right?"


def _brokers(body: bytes) -> list[tuple[str, int]]:
    """Return the addresses in an answer to Metadata, version 1."""
    (count,), at, found = struct.unpack_from(">i", body), 4, []
    for _ in range(count):
        (length,) = struct.unpack_from(">h", body, at + 4)
        host, at = body[at + 6 : at + 6 + length].decode(), at + 6 + length
        port, rack = struct.unpack_from(">ih", body, at)
        found.append((host, port))
        at += 6 + max(rack, 0)
    return found


def _unreachable(host: str, port: int) -> str | None:
    try:
        socket.create_connection((host, port), ADVERTISED_S).close()
    except socket.gaierror as wrong:
        return f"does not resolve ({wrong.strerror})"
    except OSError as wrong:
        return f"does not answer ({wrong.strerror or 'timed out'})"
    return None


def _address(server: str) -> tuple[str, int]:
    host, _, port = server.rpartition(":")
    return (host.strip("[]"), int(port)) if port.isdigit() else (server, 9092)


def _about(broker: Broker, server: str) -> str | None:
    at = hosts.parse(server)
    if at is None:
        return None
    address = (at.name, at.port or KAFKA_PORT)
    socket.create_connection(address, PROBE_S).close()  # nobody there: OSError
    with suppress(OSError), _channel(broker, address, tls=False) as raw:
        plain = _listener(raw)
        if plain and not broker.tls:
            return _mismatch(broker, server, plain) or _login(broker, address)
        if plain:
            right = "SASL_PLAINTEXT" if plain.mechanisms is not None else "PLAINTEXT"
            return f"{server} speaks Kafka without TLS: kafka.security_protocol must be {right!r}"
    return _about_tls(broker, address, server) if broker.tls else _speaks_tls(address, server)


def _about_tls(broker: Broker, address: tuple[str, int], server: str) -> str | None:
    try:
        with _channel(broker, address, tls=True) as channel:
            listener = _listener(channel)
        return listener and (_mismatch(broker, server, listener) or _login(broker, address))
    except ssl.SSLCertVerificationError as wrong:
        return _untrusted(server, wrong)
    except ssl.SSLError as wrong:
        return _tls(broker, server, wrong)


@contextmanager
def _channel(broker: Broker, address: tuple[str, int], *, tls: bool) -> Iterator[socket.socket]:
    with socket.create_connection(address, PROBE_S) as raw:
        if not tls:
            yield raw
        else:
            with context(broker).wrap_socket(raw, server_hostname=address[0]) as wrapped:
                yield wrapped


def _call(channel: socket.socket, key: int, body: bytes) -> bytes:
    """Send one request, of version 0 for a login and 1 for others; return the answer, empty if none came."""
    request = struct.pack(">hhih4s", key, int(key != AUTHENTICATE), 1, 4, b"look") + body
    channel.sendall(struct.pack(">i", len(request)) + request)
    with channel.makefile("rb") as answer:
        head = answer.read(4)
        if len(head) < 4 or not 10 <= (size := struct.unpack(">i", head)[0]) < 1 << 16:
            return b""
        return answer.read(size)[4:]


def _listener(channel: socket.socket) -> Listener | None:
    """Ask for a mechanism that does not exist: the answer lists those that exist."""
    body = _call(channel, HANDSHAKE, struct.pack(">h4s", 4, b"NONE"))
    if not body:
        return None
    error, count = struct.unpack_from(">hi", body)
    if error == ILLEGAL_SASL_STATE:
        return Listener(None)
    names, at = [], 6
    for _ in range(count):
        (length,) = struct.unpack_from(">h", body, at)
        names.append(body[at + 2 : at + 2 + length].decode())
        at += 2 + length
    return Listener(names)


def _login(broker: Broker, address: tuple[str, int]) -> str | None:
    """Try user and password."""
    if not broker.sasl:
        return None
    with _channel(broker, address, tls=broker.tls) as channel:
        return _enter(broker, address, channel)


def _enter(broker: Broker, address: tuple[str, int], channel: socket.socket) -> str | None:
    """Log in on a channel, where the broker asks for a user; return the message that it refuses."""
    if not broker.sasl:
        return None
    name = str(broker.sasl_mechanism)
    login = get_sasl_mechanism(name)(
        host=address[0],
        sasl_mechanism=name,
        security_protocol=broker.security_protocol,
        sasl_plain_username=broker.sasl_username,
        sasl_plain_password=broker.sasl_password,
    )
    _call(channel, HANDSHAKE, struct.pack(">h", len(name)) + name.encode())
    while not login.is_done():
        token = login.auth_bytes()
        body = _call(channel, AUTHENTICATE, struct.pack(">i", len(token)) + token)
        error, length = struct.unpack_from(">hh", body)
        if error:
            return f"{broker.bootstrap}: {refused_user(broker)}"
        login.receive(body[8 + max(length, 0) :])
    return None


def refused_user(broker: Broker) -> str:
    """Return the message that the broker knows no such user with that password."""
    return (
        f"user {broker.sasl_username!r} is refused by {broker.sasl_mechanism}; "
        "check kafka.sasl_username and kafka.sasl_password"
    )


def _mismatch(broker: Broker, server: str, listener: Listener) -> str | None:
    """Compare what the listener asks for with our settings."""
    names = ", ".join(listener.mechanisms or ())
    if listener.mechanisms is None:
        right = "SSL" if broker.tls else "PLAINTEXT"
        return f"{server} asks for no user: kafka.security_protocol must be {right!r}" if broker.sasl else None
    if not broker.sasl:
        right = "SASL_SSL" if broker.tls else "SASL_PLAINTEXT"
        return f"{server} asks for a user by SASL ({names}): kafka.security_protocol must be {right!r}"
    if broker.sasl_mechanism not in listener.mechanisms:
        return f"{server} does not offer {broker.sasl_mechanism}: kafka.sasl_mechanism must be one of {names}"
    return None


def _speaks_tls(address: tuple[str, int], server: str) -> str | None:
    """Try a TLS handshake with any certificate; return what to set if it works."""
    anything = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    anything.check_hostname, anything.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(address, PROBE_S) as raw, anything.wrap_socket(raw):
        return f"{server} speaks TLS: kafka.security_protocol must be 'SSL' or 'SASL_SSL'"


def _untrusted(server: str, wrong: ssl.SSLCertVerificationError) -> str:
    if wrong.verify_code in WRONG_HOST:
        right = "use the name that it was issued for, or set kafka.ssl_check_hostname = false"
    else:
        right = "kafka.ssl_cafile must be a PEM file with the authority that signed it"
    return f"the certificate of {server} is not trusted ({wrong.verify_message}); {right}"


def _tls(broker: Broker, server: str, wrong: ssl.SSLError) -> str:
    ours = "is not one that it trusts" if broker.ssl_certfile else "is asked for, and not set"
    about_ours = any(word in str(wrong.reason).upper() for word in ("CERTIFICATE", "HANDSHAKE_FAILURE", "UNKNOWN_CA"))
    right = f"; kafka.ssl_certfile {ours}" if about_ours else ""
    return f"{server} refuses TLS ({wrong.reason}){right}"
