"""The span of a record that is told of: how it is written, and what is counted in it."""

from pathlib import Path

import pytest

from deploy.backtest.decided import Span, since
from deploy.config import Settings
from deploy.operate.versions.backtest import backtest
from deploy.registry.notes import Row
from streams.errors import ConfigError
from tests.committed import empty


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("yesterday", None), "--from must be a time: ISO 8601, or ms since 1970; found 'yesterday'"),
        ((None, "2013-06"), "--to must be a time"),
        (("2013-06-01", "2013-05-01"), "--from '2013-06-01' is not before --to '2013-05-01'"),
        (("2013-06-01", "2013-06-01T00:00:00+00:00"), "is not before"),
    ],
)
def test_what_is_no_span_is_refused_before_anything_is_read(given: tuple[str | None, str | None], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        backtest(Path("no-such.py"), Settings(), [], *given)


def test_a_loss_is_counted_from_the_look_on() -> None:
    assert since(Row(30, {"loss": 0.5, "auc": 0.7}), Row(10, {"loss": 0.75}), "loss") == Row(20, {"loss": 0.375})
    assert since(Row(10, {"loss": 0.5}), Row(10, {"loss": 0.5}), "loss") == Row(0, {"loss": None})
    assert since(Row(10, {"loss": 0.5}), None, "loss") == Row(10, {"loss": 0.5})
    assert since(Row(10, {"loss": 0.5}), Row(0, {"loss": None}), "loss") == Row(10, {"loss": 0.5})


def test_a_span_begins_after_its_first_time_and_has_its_last() -> None:
    commits = [empty(n, watermark_ms=10 * n) for n in range(4)]
    span = Span(10, 20)
    assert [span.begun(one) for one in commits] == [False, False, True, True]
    assert [span.ended(one) for one in commits] == [False, False, False, True]
    assert Span().begun(commits[0])
    assert not Span().ended(commits[3])
