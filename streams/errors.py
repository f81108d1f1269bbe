"""Every error that Shadowstream raises on purpose, drawn once.

    ShadowstreamError            exit code 1
    ├── ConfigError              2   a TOML key, a pipeline.py, a command-line value; never worth a retry
    ├── Unreachable              3   the broker or the store does not answer; worth a retry
    │   ├── BrokerUnreachable
    │   └── StoreUnreachable
    │       ├── StoreFull        it answers, but takes no more
    │       └── StoreBehind      it went back to before a partition was added; the feed's run adds it again
    ├── PositionError            4   log and store disagree; an operator must look, a retry would hide it
    │   ├── LogReplaced              the topic is not the one that the store has read
    │   ├── LostRange                retention removed records that were never read
    │   └── HistoryChanged           the sample stream no longer holds the position that was read
    ├── StoreRefused             5   the store holds no such shard, another format, or may evict
    ├── BrokerRefused            6   the broker answers and refuses: user, TLS, rights, a fenced writer, a record
    │   └── RecordTooLarge
    ├── Unbalanced               7   an equation of the audit does not hold (streams/audit.py)
    ├── Disagreement             8   the verifier found a difference that nothing explains (streams/verify.py)
    └── MalformedEvent           –   one event; goes to the dead letters with its reason, never stops a feed

Knows no client library: the adapters map theirs onto these.
"""

from typing import ClassVar


class ShadowstreamError(Exception):
    """Base of all; `exit_code` is what the command line ends with, `retry_helps` whether a role tries again."""

    exit_code: ClassVar[int] = 1
    retry_helps: ClassVar[bool] = False


class ConfigError(ShadowstreamError):
    """What the user wrote cannot work; the message names it and what would be right."""

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


class StoreBehind(StoreUnreachable):
    """The store does not know a partition that was added to the feed: it went back in time."""


class PositionError(ShadowstreamError):
    """Log and store disagree about what was read."""

    exit_code = 4


class LogReplaced(PositionError):
    """The record last read is not in the log any more, or is another one."""


class LostRange(PositionError):
    """The log starts after the next record that we have to read."""


class HistoryChanged(PositionError):
    """The sample stream's first entry is not the one that the reader stands at."""


class StoreRefused(ShadowstreamError):
    """The store answers, but must not be used as it is."""

    exit_code = 5


class BrokerRefused(ShadowstreamError):
    """The broker answers, and would refuse the same again; the message names what would be right."""

    exit_code = 6


class RecordTooLarge(BrokerRefused):
    """One record that the broker or its client never takes; names topic, key and the limit."""


class MalformedEvent(ShadowstreamError):
    """One event that cannot be read; the text is the reason that goes to the dead letters."""
