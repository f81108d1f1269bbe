"""History with times: the pool learns from it how late outcomes are, as if it had been there."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from deploy.learning.bootstrap import study
from deploy.learning.candidates import history, make_learner
from deploy.learning.rehearsal import rehearse
from learners.live.held import Census
from learners.live.pool import Pool
from shadowstream import ConfigError, Labelled
from tests import late

GIVEN = late.asked(6_000)
ROWS = [Labelled(one.row, one.label, one.t_ms, one.known_ms) for one in GIVEN]


def studied(rows: list[Labelled]) -> Pool:
    pipeline = replace(late.pipeline(0), history=lambda: iter(rows))
    learner = make_learner(pipeline)
    study(pipeline, learner)
    assert learner.live is not None
    return learner.live


def test_history_with_times_tells_how_late_outcomes_are_and_the_chain_is_ready() -> None:
    live = studied(ROWS)
    assert live.late
    k80_ms = live.news.k80_ms
    assert k80_ms is not None
    assert 8 * late.DAY_MS < k80_ms < 20 * late.DAY_MS
    said, _ = live.answer([one.row for one in GIVEN[-2_000:]], np.zeros(2_000))
    p = 1 / (1 + np.exp(-said[:, live.names.index("chain")]))
    assert p.mean() == pytest.approx(np.mean([one.label for one in GIVEN[-2_000:]]), rel=0.1)
    live.learn([Census(GIVEN[-1].t_ms + late.DAY_MS, 100, 60 * late.DAY_MS)])
    assert live.news.state()["cohorts"][1].tolist() == [100]  # the feed's own predictions are counted from 0


def chance(live: Pool) -> float:
    """Return the chain's mean p of some rows."""
    said, _ = live.answer([one.row for one in GIVEN[:1_000]], np.zeros(1_000))
    return float((1 / (1 + np.exp(-said[:, live.names.index("chain")]))).mean())


def test_rows_that_still_wait_keep_what_comes_early_from_seeming_the_rule(caplog: pytest.LogCaptureFixture) -> None:
    until_ms = GIVEN[1_500].t_ms
    told = [one.known_ms < until_ms for one in GIVEN[:1_500]]
    whole = chance(studied(ROWS[:1_500]))
    waiting = [
        row if come else row._replace(label=None, label_t_ms=None) for row, come in zip(ROWS, told, strict=False)
    ]
    assert chance(studied(waiting)) == pytest.approx(whole, rel=0.05)
    assert not caplog.messages
    assert chance(studied([row for row in waiting if row.label is not None])) > 1.5 * whole
    assert "rows of its last" in caplog.text
    assert "yield the rows that still wait" in caplog.text


def test_rows_that_still_wait_are_not_trained_on_and_may_come_first() -> None:
    waiting = Labelled(ROWS[0].features, None, ROWS[0].t_ms)
    pipeline = replace(late.pipeline(0), history=lambda: iter([waiting, *ROWS[:20]]))
    rehearse(pipeline)
    data = history(pipeline)
    assert data is not None
    assert data.labels.tolist() == [row.label for row in ROWS[:20]]
    assert history(replace(pipeline, history=lambda: iter([waiting]))) is None


def test_history_without_times_is_learned_as_it_is_known() -> None:
    live = studied([row._replace(t_ms=None, label_t_ms=None) for row in ROWS[:500]])
    assert not live.late
    assert live.news.k80_ms is None


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"t_ms": None}, "both None; got None and"),
        ({"t_ms": None, "label_t_ms": None}, "a row has no times, and others have"),
        ({"t_ms": 1}, "a row is of 1 ms, after one of"),
        ({"label_t_ms": 1.5}, "got .* and 1.5"),
        ({"label_t_ms": 0}, "the outcome's no earlier"),
        ({"label": None}, "or None where the row still waits: it then has t_ms and no label_t_ms"),
        ({"label": None, "t_ms": None, "label_t_ms": None}, "or None where the row still waits"),
        ({"label_t_ms": None}, "got .* and None; a row that still waits has t_ms alone, and the label None"),
        ({"label": None, "t_ms": -1, "label_t_ms": None}, "got -1 and None"),
    ],
)
def test_a_row_whose_times_are_wrong_is_named(changed: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        studied([*ROWS[:5], ROWS[5]._replace(**changed)])
