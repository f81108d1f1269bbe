"""Addresses of servers: host:port as every client resolves it, checked before anything is asked of DNS.

Owns the grammar of names, IP addresses and ports, and how a wrong one is shown. Resolves nothing.
"""

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import NamedTuple

LABEL = r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)"
NAME = re.compile(rf"{LABEL}(?:\.{LABEL})*\.?")
MOST = 253  # characters of a name
PORTS = range(1, 65_536)
MOST_SHOWN = 100  # characters of a wrong value
SECRET = re.compile(r"[@?#]|passw", re.IGNORECASE)  # in a url that may hold a password


class Host(NamedTuple):
    """A host (an IPv6 address without its brackets), and its port, None where the address names none."""

    name: str
    port: int | None


def parse(address: str) -> Host | None:
    """Read `host`, `host:port` or `[IPv6]:port`; return None if the text is no such address."""
    match = re.fullmatch(r"(\[[^\]]*\]|[^:\[\]]*)(?::([0-9]{1,5}))?", address)
    if not match:
        return None
    name, port = match[1].strip("[]"), None if match[2] is None else int(match[2])
    valid = _ip(IPv6Address, name) if match[1].startswith("[") else _named(name)
    return Host(name, port) if valid and (port is None or port in PORTS) else None


def shown(value: object) -> str:
    """Return a wrong value for a message, on one line, cut if it is long; one that may hold a password is not shown."""
    try:
        text = repr(value)
    except ValueError:  # a number of more digits than Python writes
        return f"a {type(value).__name__} that is too long to show"
    if SECRET.search(text):
        return f"a {type(value).__name__} that is not shown, as it may hold a password"
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}… ({len(text):,} characters)"


def _named(name: str) -> bool:
    """Return whether it is a name, or an IPv4 address: what consists of numbers alone must be one."""
    if not NAME.fullmatch(name) or len(name) > MOST:
        return False
    return _ip(IPv4Address, name) if name.rstrip(".").rpartition(".")[2].isdigit() else True


def _ip(kind: type[IPv4Address] | type[IPv6Address], text: str) -> bool:
    try:
        kind(text)
    except AddressValueError:
        return False
    return True
