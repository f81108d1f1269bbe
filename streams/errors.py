"""Every error that Shadowstream raises on purpose: the one home of all but those of `compressors/errors.py`.

    ShadowstreamError            1   the exit code of the command line; what is below has its parent's, if not its own
    ├── ConfigError              2   a TOML key, a pipeline.py or a command-line value is wrong
    ├── Unreachable              3   the broker or the store does not answer; retried
    │   ├── BrokerUnreachable
    │   └── StoreUnreachable
    │       ├── StoreFull            it answers, but takes no more
    │       └── StoreWentBack        it went back to before a partition was added; the feed's run adds it again
    ├── PositionError            4   log and store disagree; an operator must look, a retry would hide it
    │   ├── LogReplaced              the topic is not the one that the store has read
    │   ├── LostRange                retention removed records that were never read
    │   └── HistoryChanged           the sample stream no longer holds the position that was read
    ├── StoreRefused             5   the store holds no such shard, another format, or may evict
    ├── BrokerRefused            6   the broker answers and refuses: user, TLS, rights, a fenced writer, a record
    │   └── RecordTooLarge
    ├── Unbalanced               7   an equation of the audit does not hold
    ├── Disagreement             8   the verifier found a difference that nothing explains
    ├── MalformedEvent               one event; it goes to the dead letters with its reason, and no feed stops
    ├── Overtaken                    another writer writes to the same output
    ├── Unwritable                   the folder of an output takes no file
    ├── RegistryError                a record or blob of the registry is missing or damaged
    ├── CommitError                  a commit cannot be read, or does not follow the one before it
    ├── LostRace                     another learner wrote the next commit; retried
    ├── NotFinite                    a loss or gradient is not finite; the sample is quarantined
    └── Stalled                      the loop does not process what was published

Imports no client library: the adapters map theirs onto these.
"""

from typing import ClassVar


class ShadowstreamError(Exception):
    """Base of all errors that Shadowstream raises on purpose; its text is for the user.

    `exit_code` is what the command line ends with. `retry_helps` says whether the same call may succeed later: then a
    role begins anew, else it ends with the error.

    >>> ConfigError.exit_code, ConfigError.retry_helps
    (2, False)
    """

    exit_code: ClassVar[int] = 1
    retry_helps: ClassVar[bool] = False


class ConfigError(ShadowstreamError):
    """What the user wrote cannot work; the message names it and what would be right.

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


class StoreUnreachable(Unreachable):
    """No Redis-protocol store answers at the address."""


class StoreFull(StoreUnreachable):
    """The store takes no more; the step was refused as a whole, and a later one may pass."""


class StoreWentBack(StoreUnreachable):
    """The store does not know a partition that was added to the feed: it went back in time."""


class PositionError(ShadowstreamError):
    """Log and store disagree about what was read."""

    exit_code = 4


class LogReplaced(PositionError):
    """The record last read is no longer in the log, or another one has its offset."""


class LostRange(PositionError):
    """The log starts after the next record to read."""


class HistoryChanged(PositionError):
    """The sample stream, or an output, does not hold the position that its reader reached."""


class StoreRefused(ShadowstreamError):
    """The store answers, but must not be used as it is."""

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


class MalformedEvent(ShadowstreamError):
    """One event that cannot be read; a reader raises it. Its text is the reason that goes to the dead letters.

    >>> read = Json(dict[str, int])
    >>> read(b'{"clicks": "three"}')
    Traceback (most recent call last):
    streams.errors.MalformedEvent: wrong type: Expected `int`, got `str` - at `$[...]`
    """


class Overtaken(ShadowstreamError):
    """Another writer writes to the same output; this one must end."""


class Unwritable(ShadowstreamError):
    """The folder of an output takes no file; the message says which and why."""


class RegistryError(ShadowstreamError):
    """A record or blob is missing or damaged; the message names the file."""


class CommitError(ShadowstreamError):
    """A commit cannot be read, or does not follow the one before it."""


class LostRace(ShadowstreamError):
    """Another learner wrote the next commit; this one must begin again from there."""

    retry_helps = True


class NotFinite(ShadowstreamError):
    """A loss or a gradient is not finite, and would make the weights useless for ever."""


class Stalled(ShadowstreamError):
    """The loop does not process what was published."""
