"""What a pipeline's history and recorded feed must be.

Owns these messages. Does not know what the parts do.
"""

from collections.abc import Callable, Sequence
from typing import Any

from compressors.arguments import shown
from streams.errors import ConfigError

TIMES_MS = range(253_402_300_800_000)  # to the end of year 9999
FED = ("requests", "outcomes")


def check_rows(name: str, value: object, what: str) -> None:
    """Check that a part is a function, or None.

    Raises:
        ConfigError: it is something else; the message says how to make a function of it.
    """
    if value is not None and not isinstance(value, Callable):  # type: ignore[arg-type]
        raise ConfigError(
            f"Pipeline.{name} must be a function that returns {what}, such as {name}=lambda: rows, got {shown(value)}"
        )


def check_events(events: Sequence[Any]) -> None:
    """Check what a recorded feed yields, by its first events.

    Raises:
        ConfigError: it is no `FeedEvent`, or one of its fields is of another kind.
    """
    for event in events:
        fields = [getattr(event, name, None) for name in ("t_ms", "topic", "key", "value")]
        t_ms, topic, *texts = fields
        if not isinstance(t_ms, int) or topic not in FED or not all(isinstance(text, bytes) for text in texts):
            raise ConfigError(
                "Pipeline.feed yields FeedEvent(t_ms=milliseconds, topic='requests' or 'outcomes', key=bytes, "
                f"value=bytes), got {shown(event)}"
            )


def check_ends(ends_ms: int | None) -> None:
    """Check the time of a recorded feed's last event.

    Raises:
        ConfigError: it is no time in milliseconds.
    """
    if ends_ms is not None and ends_ms not in TIMES_MS:
        raise ConfigError(f"Pipeline.feed_ends_ms must be a time in milliseconds since 1970, got {shown(ends_ms)}")
