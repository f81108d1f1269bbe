"""Every error that Shadowstream raises on purpose, except those of `compressors/errors.py`.

    ShadowstreamError            1   the number is the exit code; a class without one has its parent's
    ├── ConfigError              2   a TOML key, a pipeline.py or a command-line value is wrong
    ├── Unreachable              3   the broker, the store, Ray or the registry's disk does not serve; retried
    │   ├── BrokerUnreachable
    │   ├── RayUnreachable           Ray does not answer, or does not start here
    │   ├── RegistryUnwritable       the registry's disk is full, or its bucket does not answer
    │   └── StoreUnreachable
    │       ├── StoreFull            it answers, but its memory is full
    │       └── StoreWentBack        it went back to before a partition was added; the feed's run adds it again
    ├── PositionError            4   log and store disagree; an operator must look, for trying again would hide it
    │   ├── LogReplaced              the topic is not the one that the store has read
    │   ├── TopicGone                a topic was deleted
    │   ├── LostRange                retention removed records that were never read
    │   └── HistoryChanged           the sample stream no longer holds the position that was read
    ├── StoreRefused             5   the store has no such shard or another format, refuses the user, or may evict keys
    ├── BrokerRefused            6   the broker answers and refuses: user, TLS, rights, a fenced writer, a record
    │   └── RecordTooLarge
    ├── Unbalanced               7   an equation of the audit does not hold
    ├── Disagreement             8   the verifier found a difference that nothing explains
    ├── InUse                    9   another run has the feed, or has taken it over
    ├── MalformedEvent               one event cannot be read; it goes to the dead letters, and the feed goes on
    ├── Skipped                      a record that is no event, as its reader says; it counts as a hole
    ├── Overtaken                    another writer writes to the same output
    ├── Unwritable                   no file can be written to an output's folder
    ├── RegistryError                a record or blob of the registry is missing or damaged
    │   ├── LetGo                    a commit of before the log's begin: old samples were let go; retried
    │   └── Untrusted                no trusted key has signed a record, or not as and where it is
    ├── CommitError                  a commit cannot be read, or does not follow the one before it
    ├── LostRace                     another learner wrote the next commit; retried
    ├── NotResumable                 a user's metric cannot say what it holds; its role starts from the first commit
    ├── NotFinite                    a loss or gradient is not finite; the sample is quarantined
    ├── RoleDied                     the process of a role has died; retried
    └── Stalled                      the loop does not process what was published

Imports no client library: the adapters map theirs onto these.
"""

from typing import ClassVar


class ShadowstreamError(Exception):
    """Base of all errors that Shadowstream raises on purpose; its text is for the user.

    `exit_code` is the command line's. `retry_helps` says whether the same call may succeed later: then a role starts
    again, else it ends with the error.

    >>> ConfigError.exit_code, ConfigError.retry_helps
    (2, False)
    """

    exit_code: ClassVar[int] = 1
    retry_helps: ClassVar[bool] = False


class ConfigError(ShadowstreamError):
    """A setting, a pipeline or an argument is wrong; the message names it and what would be right.

    >>> fields(id="user..id")
    Traceback (most recent call last):
    streams.errors.ConfigError: fields: id must be a field's name or a path like 'user.id', got 'user..id'
    """

    exit_code = 2


class Unreachable(ShadowstreamError):
    """A service does not answer."""

    exit_code = 3
    retry_helps = True


class BrokerUnreachable(Unreachable):
    """No Kafka broker answers at the address."""


class RayUnreachable(Unreachable):
    """No Ray cluster answers at the address, or a local Ray does not start; the message has the cause."""


class RegistryUnwritable(Unreachable):
    """Nothing can be written to the registry now, or its bucket does not answer; the message says what, and why."""


class StoreUnreachable(Unreachable):
    """No Redis-protocol store answers at the address."""


class StoreFull(StoreUnreachable):
    """The store's memory is full; the step was refused as a whole, and may pass later."""


class StoreWentBack(StoreUnreachable):
    """The store does not know a partition that was added to the feed: it went back in time."""


class PositionError(ShadowstreamError):
    """Log and store disagree about what was read."""

    exit_code = 4


class LogReplaced(PositionError):
    """The record last read is no longer in the log, or another one has its offset."""


class TopicGone(PositionError):
    """A topic that is read or written was deleted; the message names it."""


class LostRange(PositionError):
    """The log starts after the next record to read: retention removed that one."""


class HistoryChanged(PositionError):
    """The sample stream, or an output, does not hold the position that its reader reached."""


class StoreRefused(ShadowstreamError):
    """The store answers, but cannot be used as it is; the message names what would be right."""

    exit_code = 5


class BrokerRefused(ShadowstreamError):
    """The broker answers, and would refuse the same again; the message names what would be right."""

    exit_code = 6


class RecordTooLarge(BrokerRefused):
    """One record is larger than the broker or its client takes; the message names topic, key and limit."""


class Unbalanced(ShadowstreamError):
    """An equation of the audit does not hold."""

    exit_code = 7


class Disagreement(ShadowstreamError):
    """The verifier found a difference that nothing explains."""

    exit_code = 8


class InUse(ShadowstreamError):
    """Another run has the feed, or has taken it over; the message says who, where and since when."""

    exit_code = 9


class MalformedEvent(ShadowstreamError):
    """An event cannot be read; a reader raises it, and its text is the reason in the dead letters.

    >>> read = Json(dict[str, int])
    >>> read(b'{"clicks": "three"}')
    Traceback (most recent call last):
    streams.errors.MalformedEvent: wrong type: Expected `int`, got `str` - at `$[...]`
    """


class Skipped(ShadowstreamError):
    """A record is no event at all, such as a tombstone; a reader raises it, and the position counts as a hole.

    >>> read = fields(tombstones="skip")
    >>> read(Record("ads.outcomes", 0, 7, 0, 0, b"a1", None))
    Traceback (most recent call last):
    streams.errors.Skipped: a tombstone
    """


class Overtaken(ShadowstreamError):
    """Another writer writes to the same output; this one must end."""


class Unwritable(ShadowstreamError):
    """No file can be written to an output's folder; the message says which, and why."""


class RegistryError(ShadowstreamError):
    """A record or blob is missing or damaged; the message names the file."""


class LetGo(RegistryError):
    """A commit is one of those that were let go, by `registry.keep_samples`; the message says where the log begins.

    A reader that was on its way starts again, from there.
    """

    retry_helps = True


class Untrusted(RegistryError):
    """No trusted key has signed a record as it is and where it is; the message says which, and why."""


class CommitError(ShadowstreamError):
    """A commit cannot be read, or does not follow the one before it."""


class LostRace(ShadowstreamError):
    """Another learner wrote the next commit; this one must start again from it."""

    retry_helps = True


class NotResumable(ShadowstreamError):
    """Something that is folded cannot say what it holds, such as a metric of the user's own."""


class NotFinite(ShadowstreamError):
    """A loss or a gradient is not finite; a step with it would make the weights useless for ever."""


class RoleDied(ShadowstreamError):
    """The process of a role has died."""

    retry_helps = True


class Stalled(ShadowstreamError):
    """The loop does not process what was published."""
