"""The client's errors as ours.

Owns the whole map: `MAP` lists the errors for which a retry is useless; every other error of the client becomes
`BrokerUnreachable`, because a new client may cure it. Offsets out of range and batches that cannot be decoded are
answers rather than faults: the source handles them.
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from kafka import TopicPartition
from kafka import errors as client

from streams.errors import BrokerRefused, BrokerUnreachable, LogReplaced, RecordTooLarge, ShadowstreamError
from streams.kafka.broker import Broker
from streams.kafka.diagnosis import advertised, refusal, refused_user, unanswered

RIGHTS = {  # resource, as kafka-acls names it
    client.TopicAuthorizationFailedError: "topic",
    client.GroupAuthorizationFailedError: "group",
    client.TransactionalIdAuthorizationFailedError: "transactional-id",
    client.ClusterAuthorizationFailedError: "cluster",
}
FENCED = (client.ProducerFencedError, client.InvalidProducerEpochError, client.TransactionCoordinatorFencedError)
TOO_LARGE = (client.MessageSizeTooLargeError, client.RecordListTooLargeError)
CREDENTIALS = (
    client.SaslAuthenticationFailedError,
    client.UnsupportedSaslMechanismError,
    client.IllegalSaslStateError,
)
REFUSED = (  # the same request would be refused again
    client.AuthorizationError,
    client.IncompatibleBrokerVersion,
    client.InvalidConfigurationError,
    client.InvalidGroupIdError,
    client.InvalidPartitionsError,
    client.InvalidRecordError,
    client.InvalidReplicationFactorError,
    client.InvalidRequiredAcksError,
    client.InvalidTimestampError,
    client.InvalidTopicError,
    client.InvalidTransactionTimeoutError,
    client.KafkaConfigurationError,
    client.PolicyViolationError,
    client.SecurityDisabledError,
    client.UnrecognizedBrokerVersion,
    client.UnsupportedCodecError,
    client.UnsupportedCompressionTypeError,
    client.UnsupportedForMessageFormatError,
    client.UnsupportedVersionError,
)
MAP: dict[type[client.KafkaError], type[ShadowstreamError]] = {
    client.LogTruncationError: LogReplaced,
    **dict.fromkeys(TOO_LARGE, RecordTooLarge),
    **dict.fromkeys((*FENCED, *CREDENTIALS, *RIGHTS, *REFUSED), BrokerRefused),
}
DEFAULT = BrokerUnreachable
NO_ANSWER = (client.KafkaConnectionError, client.KafkaTimeoutError, client.NodeNotReadyError)


@dataclass(frozen=True)
class Access:
    """Who does what to what, for the message of a refusal; `operation` is Kafka's name of the right on `topics`."""

    broker: Broker
    operation: str
    topics: Iterable[str] = ()
    group: str | None = None
    transactional_id: str | None = None


def kind(wrong: type[BaseException]) -> type[ShadowstreamError]:
    """Return our class for one of the client's."""
    return next((MAP[c] for c in wrong.__mro__ if c in MAP), DEFAULT)


@contextmanager
def mapped(access: Access) -> Iterator[None]:
    """Raise the client's errors as ours; of a partition that was deleted it only says that it has no such key."""
    try:
        yield
    except client.KafkaError as wrong:
        raise fault(wrong, access) from wrong
    except KeyError as wrong:
        if not isinstance(wrong.args[0], TopicPartition):
            raise
        topic, partition = wrong.args[0]
        raise BrokerUnreachable(f"{access.broker.bootstrap} does not know {topic}/{partition} now") from wrong


@contextmanager
def connecting(access: Access) -> Iterator[None]:
    """Raise the client's errors as ours; if it only reports a time-out, ask the port by hand why."""
    try:
        yield
    except client.RetriableError as wrong:
        if reason := refusal(access.broker):
            raise BrokerRefused(reason) from wrong
        if reason := advertised(access.broker):
            raise BrokerUnreachable(reason) from wrong
        raise BrokerUnreachable(unanswered(access.broker)) from wrong
    except client.KafkaError as wrong:
        raise fault(wrong, access) from wrong


def fault(wrong: client.KafkaError, access: Access) -> ShadowstreamError:
    """Return our error for one of the client's."""
    inner = _inner(wrong)
    if isinstance(inner, NO_ANSWER):
        return BrokerUnreachable(advertised(access.broker) or unanswered(access.broker))
    return kind(type(inner))(f"{access.broker.bootstrap}: {_message(inner, access)}")


def _inner(wrong: client.KafkaError) -> client.KafkaError:
    """Return the broker's error where the client has put it into an error of its own, as an object or as text."""
    for arg in wrong.args:
        if isinstance(arg, client.KafkaError):
            return _inner(arg)
    named = re.search(r"\b(?!KafkaError)(\w+Error)$", str(wrong)) if type(wrong) is client.KafkaError else None
    return getattr(client, named[1], client.KafkaError)(str(wrong)) if named else wrong


def _message(wrong: client.KafkaError, access: Access) -> str:
    if isinstance(wrong, tuple(RIGHTS)):
        return _missing(wrong, access)
    if isinstance(wrong, CREDENTIALS):
        return refused_user(access.broker)
    if isinstance(wrong, FENCED):
        return f"another writer has taken over the transactional id {access.transactional_id!r}; this one must end"
    return _words(wrong)


def _words(wrong: client.KafkaError) -> str:
    """Return what an error says, without the client's own name for it where there is more; else that name in words.

    >>> _words(client.UnknownTopicOrPartitionError({"ads.requests"}))
    'unknown topic or partition: ads.requests'
    """
    name = type(wrong).__name__
    if topics := _topics(wrong):
        return f"{_spoken(name)}: {', '.join(sorted(topics))}"
    text = re.sub(rf"^(\[Error [^\]]+\] )?{name}(: |$)", "", " ".join(str(wrong).split()))
    return text or _spoken(name)


def _spoken(name: str) -> str:
    """Return the name of one of the client's errors in words."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name.removesuffix("Error")).lower()


def _missing(wrong: client.KafkaError, access: Access) -> str:
    """Name the right that is missing, and the command that grants it."""
    resource = next(name for error, name in RIGHTS.items() if isinstance(wrong, error))
    names = {"group": access.group, "transactional-id": access.transactional_id, "cluster": "kafka-cluster"}
    name = names.get(resource) or ", ".join(sorted(_topics(wrong) or access.topics))
    operation = _operation(resource, access)
    flag = "--cluster" if resource == "cluster" else f"--{resource} {name}"
    who, principal = _user(access.broker)
    also = " (from Kafka 2.8 on, Write on any topic includes it)" if operation == "IdempotentWrite" else ""
    return (
        f"{who} may not {operation.upper()} {resource} {name!r}{also}; an administrator can grant it: "
        f"kafka-acls --add --allow-principal {principal} --operation {operation} {flag}"
    )


def _user(broker: Broker) -> tuple[str, str]:
    """Return our user as text for a message, and as kafka-acls names it."""
    if broker.ssl_certfile and not broker.sasl:
        return "the user of kafka.ssl_certfile", "'User:<the certificate's name>'"
    user = broker.sasl_username or "ANONYMOUS"
    return f"user {user!r}", f"User:{user}"


def _operation(resource: str, access: Access) -> str:
    """Return the right that is missing: on a group its reader's, on a transactional id its writer's."""
    of = {"group": "Read", "transactional-id": "Write", "topic": access.operation}
    return of.get(resource) or ("IdempotentWrite" if access.operation == "Write" else access.operation)


def _topics(wrong: client.KafkaError) -> set[str]:
    """Return the topics that the client names: one, or a set."""
    named = wrong.args[0] if wrong.args else None
    return named if isinstance(named, set) else set()
