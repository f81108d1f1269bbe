"""The map of the client's errors onto ours is complete, and errors that it does not name are retried."""

import inspect

import pytest
from kafka import errors as client

from streams.errors import BrokerRefused, BrokerUnreachable, LogReplaced, RecordTooLarge
from streams.kafka.broker import Broker
from streams.kafka.faults import DEFAULT, MAP, Access, fault, kind

ACCESS = Access(Broker(bootstrap="here:1"), "Read", ["topic"], group="g", transactional_id="x")
PUBLIC: dict[str, type[client.KafkaError]] = {
    name: error
    for name, error in inspect.getmembers(client, inspect.isclass)
    if issubclass(error, client.KafkaError) and not name.startswith("_")
}
WORDS_OF_REFUSAL = ("Authorization", "Sasl", "Fenced", "TooLarge", "Unsupported", "Invalid", "Configuration", "Policy")
CURED_BY_A_FRESH_CLIENT = {  # or by the broker itself; they sound like refusals and are worth a retry
    "FencedInstanceIdError", "FencedLeaderEpochError", "FencedMemberEpochError", "FencedStateEpochError",
    "InvalidCommitOffsetSizeError", "InvalidFetchRequestError", "InvalidFetchSessionEpochError",
    "InvalidMetadataError", "InvalidPrincipalTypeError", "InvalidProducerIdMappingError", "InvalidReceiveError",
    "InvalidRecordStateError", "InvalidRegistrationError", "InvalidReplicationAssignmentError", "InvalidRequestError",
    "InvalidSessionTimeoutError", "InvalidShareSessionEpochError", "InvalidTxnStateError", "InvalidUpdateVersionError",
    "InvalidVoterKeyError", "OffsetMetadataTooLargeError", "TelemetryTooLargeError", "UnsupportedAssignorError",
    "UnsupportedEndpointTypeError",
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_every_error_of_the_client_becomes_one_of_ours(name: str) -> None:
    error: type[Exception] = PUBLIC[name]
    ours = fault(error({}) if error is client.LogTruncationError else error(), ACCESS)
    named = any(base in MAP for base in error.__mro__)
    assert type(ours) is (kind(error) if named else DEFAULT)
    assert "here:1: " in str(ours)
    assert name not in str(ours), "the client's own name for it"
    if issubclass(error, client.RetriableError):
        assert not named
    sounds_refused = any(word in name for word in WORDS_OF_REFUSAL)
    assert named or not sounds_refused or name in CURED_BY_A_FRESH_CLIENT, f"{name}: refused, or worth a retry?"


@pytest.mark.parametrize(
    ("error", "expected", "said"),
    [
        (client.ProducerFencedError(), BrokerRefused, "another writer has taken over the transactional id 'x'"),
        (client.KafkaError("Cannot send", client.ProducerFencedError()), BrokerRefused, "transactional id 'x'"),
        (
            client.KafkaError("Unexpected: [Error 31] ClusterAuthorizationFailedError"),
            BrokerRefused,
            "--operation Read --cluster",
        ),
        (client.TopicAuthorizationFailedError({"b", "a"}), BrokerRefused, "may not READ topic 'a, b'"),
        (client.GroupAuthorizationFailedError("g"), BrokerRefused, "--operation Read --group g"),
        (client.SaslAuthenticationFailedError(), BrokerRefused, "check kafka.sasl_username"),
        (client.MessageSizeTooLargeError(), RecordTooLarge, "message size too large"),
        (client.LogTruncationError({}), LogReplaced, "truncated"),
        (client.NotLeaderForPartitionError(), BrokerUnreachable, "here:1: not leader for partition"),
        (
            client.KafkaTimeoutError("Unable to bootstrap from [('here', 1)]"),
            BrokerUnreachable,
            "no Kafka broker answers",
        ),
        (
            client.UnknownTopicOrPartitionError({"b", "a"}),
            BrokerUnreachable,
            "here:1: unknown topic or partition: a, b",
        ),
        (client.NotControllerError("moved"), BrokerUnreachable, "here:1: moved"),
        (client.KafkaError("?"), BrokerUnreachable, "?"),
    ],
)
def test_what_an_error_says(error: client.KafkaError, expected: type[Exception], said: str) -> None:
    ours = fault(error, ACCESS)
    assert type(ours) is expected
    assert said in str(ours)
