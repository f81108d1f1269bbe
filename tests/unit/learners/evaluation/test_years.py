"""What an evaluator holds does not grow with the years, and what is shown, and follows, is as if it held all."""

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from learners.evaluation.evaluate import Evaluator, EvaluatorState
from learners.evaluation.measured import Months
from learners.evaluation.scores import Scores
from learners.packing import pack, unpack
from learners.tasks.binary import Binary
from learners.tasks.metrics import Auc
from streams.events import Sample
from tests import small
from tests.unit.learners.evaluation.test_evaluate import Oracle, commit, cut, evaluator

HOUR_MS, APART_H = 3_600_000, 12


def moved(one: Sample, later_ms: int) -> Sample:
    """Return a sample that came later."""
    asked = replace(one.prediction, t=one.prediction.t + later_ms)
    return replace(one, t=one.t + later_ms, label_t=one.label_t + later_ms, prediction=asked)


# half a day apart, of five months
SAMPLES = [moved(one, n * (APART_H - 1) * HOUR_MS) for n, one in enumerate(small.samples(300))]


def taken(judge: Evaluator, parts: list[list[Sample]], learned: int = 0, watermark_ms: int = 0) -> Evaluator:
    """Have it take a commit of each part, whose watermark is its latest prediction, or a later one that is given."""
    for number, part in enumerate(parts, learned):
        learned += len(part)
        judge.take(commit(number, part, learned, max(watermark_ms, *(s.prediction.t for s in part))))
    return judge


def values(months: Months) -> dict[str, dict[str, tuple[int, dict[str, float]]]]:
    """Return all that people see, whole."""
    return {name: {who: (one.count, one.values) for who, one in month.items()} for name, month in months.items()}


def alone(samples: list[Sample]) -> Scores:
    """Return how the first version, as `frozen`, has answered samples."""
    found = Scores(Binary().metrics())
    rows = [msgspec.json.decode(one.prediction.features, type=small.Point) for one in samples]
    labels = torch.tensor([float(str(one.label)) for one in samples])
    found.add(Oracle()(*small.encode(rows)), labels)
    return found


def resumed(state: EvaluatorState, judge: Evaluator) -> Evaluator:
    """Return an evaluator that goes on from a state, as it is written, of what another one held."""
    made, last = evaluator(), judge._last
    assert last is not None
    made.restore(unpack(pack(state), EvaluatorState), last, lambda _: Oracle(), lambda _: None)
    return made


def test_a_month_that_is_over_says_what_its_samples_say() -> None:
    judge = taken(evaluator(), cut(SAMPLES, 40))
    assert len(judge.measured.state().closed) == 4
    by_month = dict[str, list[Sample]]()
    for one in SAMPLES:
        by_month.setdefault(str(np.datetime64(one.prediction.t, "ms").astype("datetime64[M]")), []).append(one)
    assert list(judge.measured.months) == list(by_month)
    for name, samples in [*by_month.items(), ("all", SAMPLES)]:
        found = (judge.measured.months.get(name) or judge.measured.totals())["frozen"]
        assert found.count == len(samples)
        assert found.values["AUC"] == alone(samples).values["AUC"]
        assert found.loss == pytest.approx(alone(samples).loss, abs=1e-6)


@settings(max_examples=10, deadline=None)
@given(sizes=st.lists(st.integers(1, 80), min_size=3, max_size=8), at=st.floats(0, 1))
def test_what_goes_on_from_a_state_holds_the_same_bits(sizes: list[int], at: float) -> None:
    parts, start = list[list[Sample]](), 0
    for size in sizes:
        parts.append(SAMPLES[start : start + size])
        start += size
    parts = [part for part in parts if part]
    whole, stop = taken(evaluator(), parts), round(at * (len(parts) - 1)) or 1
    before = taken(evaluator(), parts[:stop])
    after = taken(resumed(before.state(), before), parts[stop:], learned=sum(map(len, parts[:stop])))
    assert pack(after.state()) == pack(whole.state())


def test_a_state_of_before_months_were_closed_is_gone_on_from() -> None:
    """It holds each month open; they are closed with the next commit, and no figure is another one."""
    parts = cut(SAMPLES, 40)
    before, whole = evaluator(), taken(evaluator(), parts)
    before.measured.close = lambda before_ms: None  # type: ignore[method-assign]
    taken(before, parts[:-1])
    old = msgspec.msgpack.decode(pack(before.state()))
    assert len(old["final"]) > 4
    assert not old.pop("closed") | old.pop("total")
    made = evaluator()
    assert before._last is not None
    made.restore(unpack(msgspec.msgpack.encode(old), EvaluatorState), before._last, lambda _: Oracle(), lambda _: None)
    assert values(made.measured.months) == values(before.measured.months)
    taken(made, parts[-1:], learned=sum(map(len, parts[:-1])))
    assert values(made.measured.months) == values(whole.measured.months)
    assert values({"all": made.measured.totals()}) == values({"all": whole.measured.totals()})
    assert pack(made.measured.state()) == pack(whole.measured.state())


def test_what_comes_for_a_month_that_is_over_still_counts() -> None:
    """As what a person releases: its loss as any, its order among what comes with it; and in all, as any."""
    first, late, later = SAMPLES[:40] + SAMPLES[60:62], SAMPLES[40:60], SAMPLES[62:]
    judge = taken(evaluator(), [first, *cut(later, 40)])
    taken(judge, [late], len(first + later), later[-1].prediction.t)
    assert list(judge.measured.state().final) == ["2013-05"]
    month = judge.measured.months["2013-01"]["frozen"]
    assert month.count == len(first) + len(late) == 62
    assert month.loss == pytest.approx(alone(first + late).loss, abs=1e-6)
    parts = [(alone(part).values["AUC"], pairs(part)) for part in (first, late)]
    values, weights = map(list, zip(*parts, strict=True))
    assert month.values["AUC"] == pytest.approx(np.average(values, weights=weights))
    total = judge.measured.totals()["frozen"]
    assert (total.count, total.values["AUC"]) == (len(SAMPLES), alone(SAMPLES).values["AUC"])


def pairs(samples: list[Sample]) -> int:
    """Return how many pairs of a yes and a no there are."""
    yes = sum(one.label == 1 for one in samples)
    return yes * (len(samples) - yes)


def test_years_of_months_take_no_more_room_than_their_values() -> None:
    judge = evaluator()
    for year in range(3):
        chosen = [moved(one, year * 366 * 24 * HOUR_MS) for one in SAMPLES]
        taken(judge, cut(chosen, 100), len(SAMPLES) * year)
        closed = judge.measured.state().closed
        assert len(closed) >= 4 + 5 * year
        assert len(msgspec.msgpack.encode(closed)) < 550 * len(closed)  # of five models; with their bins, 2,500


def test_intercepts_are_forgotten_that_no_prediction_carries_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is answered by what was learned two samples before; the join is over after five hours, and lags two days."""
    told = [replace(one, prediction=replace(one.prediction, learned=max(0, n - 2))) for n, one in enumerate(SAMPLES)]
    whole = taken(evaluator(), cut(told, 7))
    monkeypatch.setattr("learners.evaluation.evaluate.FEWEST", 0)
    judge = taken(evaluator(), cut(told, 7))
    assert len(judge.measured._alone._path) < 20 < len(SAMPLES) < len(whole.measured._alone._path)
    assert values(judge.measured.months) == values(whole.measured.months)


def test_a_closed_area_under_the_curve_is_that_of_its_answers() -> None:
    auc, other = Auc(), Auc()
    assert np.isnan(auc.value)
    auc.close()
    assert np.isnan((auc + other).value)
    auc.add(torch.tensor([[-1.0], [0.0], [2.0]]), torch.tensor([0.0, 1.0, 0.0]))
    assert auc.value == 0.5
    auc.close()
    other.add(torch.tensor([[3.0], [4.0]]), torch.tensor([0.0, 1.0]))
    assert (auc + other).value == pytest.approx(2 / 3)  # 1 of 2 pairs, and 1 of 1
    auc.add(torch.tensor([[9.0]]), torch.tensor([1.0]))
    assert auc.value == 0.5  # it has nobody to be compared with
