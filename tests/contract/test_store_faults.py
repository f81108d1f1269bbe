"""The map of the client's errors is complete: each class or a base of it has an entry, or it is in `DEFAULTED`."""

import inspect

import pytest
from redis import exceptions, sentinel

from streams.errors import ShadowstreamError, StoreFull, StoreRefused, StoreUnreachable
from streams.redis import Address
from streams.redis.faults import MAP, kind, mapped

AT = Address(url="redis://joiner:hunter2@host")
DEFAULTED = {  # never raised by what we call, or an answer that would come again
    "ChildDeadlockedError", "DataError", "ExecAbortError", "IncorrectPolicyType",
    "InvalidResponse", "LockError", "LockNotOwnedError", "ModuleError", "NoScriptError",
    "NoSuchFieldsetError", "PubSubError", "RedisError", "ResponseError", "WatchError",
}  # fmt: skip
CLASSES = {
    error.__name__: error
    for module in (exceptions, sentinel)
    for error in vars(module).values()
    if inspect.isclass(error) and issubclass(error, Exception)
}


def made(name: str, text: str = "1 host:6379") -> Exception:
    error: Exception = CLASSES[name](text)
    return error


@pytest.mark.parametrize("name", CLASSES)
def test_every_error_of_the_client_has_one_of_ours(name: str) -> None:
    assert (name in DEFAULTED) == (not any(c in MAP for c in CLASSES[name].__mro__))
    with pytest.raises(ShadowstreamError) as raised, mapped(AT):
        raise made(name)
    assert type(raised.value) is kind(made(name))
    assert "redis://***@host" in str(raised.value)
    assert "hunter2" not in str(raised.value)


RETRIED = {
    "AskError": False, "AuthenticationError": False, "AuthenticationWrongNumberOfArgsError": False,
    "AuthorizationError": False, "BusyLoadingError": True, "ClusterCrossSlotError": False, "ClusterDownError": True,
    "ClusterError": True, "ConnectionError": True, "CrossSlotTransactionError": False, "InvalidPipelineStack": False,
    "ExternalAuthProviderError": True, "MasterDownError": True,
    "MasterNotFoundError": True, "MaxConnectionsError": True, "MovedError": False, "NoPermissionError": False,
    "OutOfMemoryError": True, "ReadOnlyError": True, "RedisClusterException": True, "SlaveNotFoundError": True,
    "SlotNotCoveredError": True, "TimeoutError": True, "TryAgainError": True,
}  # fmt: skip


def test_what_is_worth_a_retry() -> None:
    assert {name: issubclass(kind(made(name)), StoreUnreachable) for name in RETRIED} == RETRIED
    assert set(CLASSES) - DEFAULTED == set(RETRIED)
    assert kind(made("OutOfMemoryError")) is StoreFull


@pytest.mark.parametrize(
    ("said", "ours"),
    [
        ("MISCONF Errors writing to the AOF file", StoreUnreachable),
        ("BUSY Redis is busy running a script", StoreUnreachable),
        ("NOREPLICAS Not enough good replicas to write.", StoreUnreachable),
        ("UNBLOCKED force unblock from blocking operation", StoreUnreachable),
        ("MISSING there is no such shard", StoreRefused),
        ("ERR unknown command", StoreRefused),
    ],
)
def test_an_answer_without_a_class_is_known_by_its_first_word(said: str, ours: type[ShadowstreamError]) -> None:
    assert kind(exceptions.ResponseError(said)) is ours


def test_what_a_caller_was_handling_is_not_taken_for_the_cause() -> None:
    try:
        with mapped(AT):
            raise made("NoPermissionError")
    except StoreRefused:
        with pytest.raises(StoreUnreachable, match="no store answers"), mapped(AT):
            raise made("TimeoutError")  # noqa: B904
