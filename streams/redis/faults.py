"""The errors of the Redis client as ours.

Owns the whole map: `MAP` by class, `CODES` by the first word where the client has no class for it, and `DEFAULT` for
the rest. What may pass by itself is `StoreUnreachable`, and is retried; what would be refused again is `StoreRefused`.
"""

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

from redis import exceptions as client

from streams.errors import ShadowstreamError, StoreFull, StoreRefused, StoreUnreachable, StoreWentBack
from streams.redis import tls
from streams.redis.address import Address
from streams.redis.rights import rule
from streams.redis.url import parse

CREDENTIALS = (
    client.AuthenticationError,
    client.AuthenticationWrongNumberOfArgsError,
    client.AuthorizationError,
)
ELSEWHERE = (client.AskError, client.MovedError, client.ClusterCrossSlotError)  # a cluster client would follow
OURS = (client.CrossSlotTransactionError, client.InvalidPipelineStack)  # mistakes of the caller
MAP: dict[type[Exception], type[ShadowstreamError]] = {
    client.ConnectionError: StoreUnreachable,  # loading, too many connections and no master are kinds of it
    client.TimeoutError: StoreUnreachable,
    client.ReadOnlyError: StoreUnreachable,  # a replica: the failover is not over
    client.TryAgainError: StoreUnreachable,  # the slot is on its way to another node
    client.ClusterError: StoreUnreachable,  # down, or still moving after all tries
    client.RedisClusterException: StoreUnreachable,  # no node answers, or a slot has none
    client.OutOfMemoryError: StoreFull,
    client.NoPermissionError: StoreRefused,
    **dict.fromkeys((*CREDENTIALS, *ELSEWHERE, *OURS), StoreRefused),
}
CODES: dict[str, type[ShadowstreamError]] = {
    # a script runs, the disk is full, no replica, a failover
    **dict.fromkeys(("BUSY", "MISCONF", "NOREPLICAS", "UNBLOCKED"), StoreUnreachable),
    "UNKNOWN": StoreWentBack,  # a word of our scripts
}
DEFAULT = StoreRefused  # our scripts' other words (MISSING, ...), and whatever else would be refused again
ALL = tuple(one for one in vars(client).values() if isinstance(one, type) and issubclass(one, Exception))
SILENT = (client.ConnectionError, client.TimeoutError, client.RedisClusterException)
MOST_SAID = 300  # characters
CERTIFICATES = ("CERTIFICATE", "UNKNOWN_CA", "HANDSHAKE_FAILURE", "WRONG_VERSION_NUMBER")  # in OpenSSL's reasons
RIGHTS = ("NOPERM", "ACL failure in script", "can't run this command", "has no permissions", "No permissions to")


def kind(wrong: Exception) -> type[ShadowstreamError]:
    """Return our class for one of the client's errors."""
    if type(wrong) is client.ResponseError and (ours := CODES.get(str(wrong).partition(" ")[0])):
        return ours
    return next((MAP[c] for c in type(wrong).__mro__ if c in MAP), DEFAULT)


@contextmanager
def mapped(at: Address) -> Iterator[None]:
    """Raise the client's errors as ours."""
    try:
        yield
    except ALL as wrong:
        raise fault(wrong, at) from wrong


def fault(wrong: Exception, at: Address) -> ShadowstreamError:
    """Return our error for one of the client's, or for its cause where that says more."""
    for cause in _causes(wrong):
        if refusal := _refusal(cause, at):
            return StoreRefused(f"{at.shown}: {refusal}")
    ours = kind(wrong)
    if ours is StoreFull:
        return ours(f"{at.shown} is full, nothing was written; raise its maxmemory: {said(wrong)}")
    if isinstance(wrong, SILENT):
        return ours(f"no store answers at {at.shown}: {_silence(wrong)}")
    return ours(f"{at.shown}: {said(wrong)}")


def said(wrong: BaseException) -> str:
    """Return an error's text on one line, cut if it is long; a Sentinel's without the client's own structure."""
    text = " ".join(str(wrong).split())
    if text.startswith("No master found"):
        silent = text.count(" - ")
        unknown = "no Sentinel knows it; check redis.sentinel_master"
        why = f"{silent} of the Sentinels did not answer" if silent else unknown
        text = f"{text.partition(' : ')[0]}: {why}"
    return text if len(text) <= MOST_SAID else f"{text[:MOST_SAID]}…"


def _silence(wrong: BaseException) -> str:
    """Return why nothing comes from a store: what the system says, where it says something."""
    for cause in _causes(wrong):
        if isinstance(cause, socket.gaierror):
            return f"its name does not resolve ({cause.strerror})"
        if isinstance(cause, TimeoutError | client.TimeoutError):
            return "it does not answer in time"
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
    text = said(wrong)
    return "it has closed the connection" if text.startswith("Connection closed") else text


def _causes(wrong: BaseException | None) -> list[BaseException]:
    """Return an error and its causes, the first cause first: it says most."""
    causes: list[BaseException] = []
    while wrong and not isinstance(wrong, ShadowstreamError):  # the cause of one of ours is what a caller was handling
        causes.insert(0, wrong)
        wrong = wrong.__cause__ or wrong.__context__
    return causes


def _refusal(wrong: BaseException, at: Address) -> str | None:
    """Return what is wrong and what would be right, where the same would be refused again; else None."""
    if at.url and at.tls and isinstance(wrong, ssl.SSLEOFError | ConnectionError):
        wrong = tls.refusal(at) or wrong
    if isinstance(wrong, ssl.SSLError) and any(word in (wrong.reason or "") for word in CERTIFICATES):
        return f"TLS failed; check redis.ssl_ca_certs, redis.ssl_certfile and what the store asks for: {wrong}"
    if "No master found" in str(wrong) and "AuthenticationError" in str(wrong):
        return "a Sentinel refuses us; check redis.sentinel_username and redis.sentinel_password"
    if isinstance(wrong, client.AuthorizationError | client.NoPermissionError) or any(w in str(wrong) for w in RIGHTS):
        return f"{wrong}; an administrator can grant all we need: {rule(user(at), cluster=at.cluster)}"
    if isinstance(wrong, CREDENTIALS):
        return f"user {user(at)!r} is refused ({wrong}); check redis.username and redis.password"
    if isinstance(wrong, ELSEWHERE) and not at.cluster:
        return f"it is a node of a cluster; set redis.cluster = true ({wrong})"
    if isinstance(wrong, client.InvalidResponse):
        return "what answers there is not Redis or Valkey; check redis.url and redis.sentinel"
    if "MISSING" in str(wrong):
        return (
            f"{wrong}. If there was, the store was emptied: start the feed again (a join with --rewind) to make it anew"
        )
    if "Cluster mode is not enabled" in str(wrong) or "cluster support disabled" in str(wrong):
        return "it is not a node of a cluster; leave redis.cluster out"
    return None


def user(at: Address) -> str:
    """Return the name of the user that we connect as."""
    return at.username or (parse(at.url).user if at.url else None) or "default"
