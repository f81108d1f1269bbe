"""Where a record has what another system answered, and what becomes of one that does not."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from deploy.serving.theirs import reader
from shadowstream import ConfigError, MalformedEvent, Pipeline, Record, Request


class Visit(msgspec.Struct):
    age: float


def theirs(by: str | Callable[[Record], Any] | None, value: bytes) -> tuple[float, ...]:
    pipeline = Pipeline(name="shop", features=Visit, theirs=by)
    return reader(pipeline)(Record("scores", 0, 7, 0, 0, b"a", value), Request("a", 0, value))


def broken(record: Record) -> float:
    raise KeyError("score")


def test_an_answer_is_read_from_a_field_a_path_or_by_a_function() -> None:
    assert theirs("score", b'{"age": 3, "score": 0.5}') == (0.0,)
    assert theirs("made.score", b'{"age": 3, "made": {"score": 0.5}}') == (0.0,)
    assert theirs(lambda record: record.offset / 14, b"{}") == (0.0,)
    assert theirs(None, b"{}") == ()


@pytest.mark.parametrize(
    ("by", "value", "why"),
    [
        ("score", b'{"age": 3}', "field 'score' must be what was answered .* found nothing"),
        ("made.score", b'{"made": 3}', "field 'made.score' must be what was answered"),
        ("score", b'{"score": 50}', "field 'score': an answer is a probability, from 0 to 1, got 50"),
        (broken, b"{}", r"broken raised KeyError: 'score' \(test_theirs.py:"),
        (lambda record: None, b"{}", "Pipeline.theirs: an answer is a probability"),
    ],
)
def test_a_record_without_an_answer_is_refused(by: Any, value: bytes, why: str) -> None:
    with pytest.raises(MalformedEvent, match=why):
        theirs(by, value)


@pytest.mark.parametrize("by", ["", "a..b", 3, ["score"]])
def test_what_is_no_field_and_no_function_is_refused(by: Any) -> None:
    with pytest.raises(ConfigError, match=r"theirs must be a field's name, a path like 'answer.score', or a function"):
        Pipeline(name="shop", features=Visit, theirs=by)


def test_a_function_of_other_arguments_is_refused() -> None:
    two: Any = lambda record, more: 0.5  # noqa: E731
    with pytest.raises(ConfigError, match=r"Pipeline.theirs is called with one argument, a Record"):
        Pipeline(name="shop", features=Visit, theirs=two)
