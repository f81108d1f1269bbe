"""The evaluator: only fresh samples, in prediction order, up to the watermark, each with what its server knew."""

import msgspec
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw
from torch import Tensor, nn

from learners.commits.commit import Commit, Run
from learners.evaluation.drift import BLOCK
from learners.evaluation.evaluate import Evaluator
from learners.evaluation.gate import Promotion
from learners.evaluation.trials.pair import Pair
from learners.evaluation.trials.timing import Timing
from learners.evaluation.trials.trial import Entry
from learners.evaluation.trials.trials import Reign
from learners.evaluation.verdict import Decision, Kind
from learners.live.features.fields import NONE
from learners.online.batches import Encoder
from learners.tasks.binary import Binary
from learners.tasks.regression import Regression
from streams.events import CORRECTION, NEGATIVE, Sample
from streams.join.policy import JoinPolicy
from tests import small

JOIN = JoinPolicy(window_s=5 * 3_600)
SILENCE = JoinPolicy(window_s=3_600, keep_s=5 * 3_600, absent="negative", emit="at_once")
POLICY = Promotion(candidates_a_year=1, drift_a_year=0, margin=0.0)
ENDLESS = Promotion(alpha=1e-30, futility=1e-30, margin=0.0)


class Oracle(nn.Module):
    """Answers `sign` times the true logit of a small point."""

    def __init__(self, sign: float = 1.0) -> None:
        super().__init__()
        self.sign = sign

    def forward(self, x: Tensor) -> Tensor:
        return self.sign * 2 * (x[:, :1] - x[:, 1:2])


def evaluator(policy: Promotion = POLICY, join: JoinPolicy = JOIN, first: nn.Module | None = None) -> Evaluator:
    encoder, reign = Encoder(small.Point, small.encode), Reign(0, "first", first or Oracle(), -1)
    return Evaluator(Binary(), encoder, policy, 0.01, Timing.of(join), reign, {0: "first"}.get)


def entry(judge: Evaluator, number: int = 7) -> Entry:
    return Entry(number, f"candidate {number}", Kind.REFRESH, judge.reach_ms)


def commit(number: int, chosen: list[Sample], learned: int, watermark_ms: int) -> Commit:
    return Commit(
        number=number,
        parent="",
        learned=learned,
        samples=[Raw(msgspec.json.encode(s)) for s in chosen],
        runs=[Run(0, learned - len(chosen) + 1, len(chosen))],
        batches=[len(chosen)],
        shadow=[[0.0] for _ in chosen],
        intercept=(0.0,),
        positions={},
        watermark_ms=watermark_ms,
        latest_ms=max(s.prediction.t for s in chosen),
        fingerprint="",
    )


def run(
    parts: list[list[Sample]], model: nn.Module, policy: Promotion = POLICY, join: JoinPolicy = JOIN
) -> tuple[Evaluator, list[Decision]]:
    """Take the first part, start the candidate, take the others; the watermark is at each part's latest prediction."""
    judge, learned, decisions = evaluator(policy, join), 0, []
    for number, part in enumerate(parts):
        learned += len(part)
        verdicts = judge.take(commit(number, part, learned, max(s.prediction.t for s in part)))
        decisions += [verdict.decision for verdict in verdicts]
        if number == 0:
            judge.start(entry(judge), model)
    return judge, decisions


def compared(judge: Evaluator) -> Pair:
    """Return what the one trial that runs has compared."""
    (trial,) = judge.trials.all
    (pair,) = trial.pairs
    return pair


def cut(chosen: list[Sample], size: int) -> list[list[Sample]]:
    return [chosen[i : i + size] for i in range(0, len(chosen), size)]


def test_a_better_candidate_is_proven_and_a_worse_one_refused() -> None:
    parts = cut(small.samples(4_000), 100)
    assert run(parts, Oracle())[1] == [Decision.PROVEN]
    assert run(parts, Oracle(-1.0))[1] == [Decision.FUTILE]


def test_only_predictions_after_all_that_was_known_count_in_whole_days_whose_labels_are_there() -> None:
    chosen = small.samples(100)
    judge, _ = run([chosen[10:50], chosen[:10] + chosen[50:]], Oracle(), ENDLESS)
    # 50 to 99 are fresh; the last is asked at 99 h, and labels come for 5 h: the day that ends at 72 h is whole
    assert (compared(judge).sums.samples, compared(judge).waiting) == (22, 0)


@given(st.randoms(use_true_random=False))
@settings(max_examples=15)
def test_the_order_in_which_labels_arrive_does_not_matter(random: object) -> None:
    chosen = small.samples(400)
    fresh = chosen[100:]
    plain, _ = run([chosen[:100], fresh], Oracle(0.2), ENDLESS)
    random.shuffle(fresh)  # type: ignore[attr-defined]
    shuffled, _ = run([chosen[:100], fresh], Oracle(0.2), ENDLESS)
    ours, theirs = compared(plain).sums, compared(shuffled).sums
    assert ours.samples == theirs.samples > 200
    assert ours.mean == pytest.approx(theirs.mean, abs=2e-2)  # the intercept's path differs, the samples do not


def test_an_intercept_begins_with_what_the_champion_has_beside_its_output() -> None:
    """The live intercept is far off, since a version served that was: candidates are not begun there."""
    judge, chosen = evaluator(ENDLESS), small.samples(400)
    far = [
        msgspec.structs.replace(one, prediction=msgspec.structs.replace(one.prediction, intercept=(-6.0,)))
        for one in chosen
    ]
    judge.take(commit(0, far, 400, max(one.prediction.t for one in far)))
    judge.crown(Reign(1, "back", Oracle(), -1), (6.0,))
    judge.start(entry(judge), Oracle())
    (trial,) = judge.trials.all
    assert judge.trials._contestants[trial.entry.key].intercept.value[0] == pytest.approx(0, abs=0.5)


def test_the_candidates_intercept_is_what_it_would_have_been_at_serving() -> None:
    """Shift the candidate by a constant: its own intercept takes it back, and the offset says by how much."""

    class Shifted(Oracle):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + 1.0

    judge = evaluator()
    parts, learned, verdict = cut(small.samples(6_000), 500), 0, None
    for number, part in enumerate(parts):
        learned += len(part)
        verdict = next(iter(judge.take(commit(number, part, learned, part[-1].prediction.t))), verdict)
        if number == 3:
            judge.start(entry(judge), Shifted())
    assert verdict is not None
    assert verdict.decision is Decision.PROVEN
    assert verdict.offset[0] == pytest.approx(-1.0, abs=0.25)


def test_metrics_are_by_month_of_prediction() -> None:
    judge = evaluator()
    chosen = small.samples(24 * 40)
    judge.take(commit(0, chosen, len(chosen), chosen[-1].prediction.t))
    assert sorted(judge.measured.months) == ["2013-01", "2013-02"]
    assert judge.measured.totals()["served"].count == len(chosen)
    assert judge.measured.totals()["frozen"].values["AUC"] > 0.8 > judge.measured.totals()["shadow"].values["AUC"]
    assert torch.isfinite(torch.tensor(judge.measured.totals()["frozen"].loss))


def test_the_frozen_model_is_also_measured_under_an_intercept_of_its_own() -> None:
    """Its outputs are off by 2, and what served was not: its intercept takes that back, as far as was known."""

    class Off(Oracle):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + 2

    judge, chosen = evaluator(first=Off()), small.samples(3_000)
    for number, part in enumerate(cut(chosen, 50)):
        known = 50 * number
        asked = [
            msgspec.structs.replace(s, prediction=msgspec.structs.replace(s.prediction, learned=known)) for s in part
        ]
        judge.take(commit(number, asked, known + 50, part[-1].prediction.t))
    frozen, live = judge.measured.totals()["frozen"], judge.measured.totals()["frozen_live"]
    assert live.count == judge.measured.totals()["served"].count == 3_000
    assert live.loss < frozen.loss - 0.1
    assert live.loss == pytest.approx(run(cut(chosen, 50), Oracle())[0].measured.totals()["frozen"].loss, abs=0.1)


def test_a_candidate_needs_samples_before_it() -> None:
    with pytest.raises(ValueError, match="samples before it"):
        evaluator().start(entry(evaluator()), Oracle())


def test_what_was_served_is_measured_by_slices_and_watched() -> None:
    chosen = small.samples(2 * BLOCK)
    encoder, first = Encoder(small.Point, small.encode), Reign(0, "first", Oracle(), -1)
    judge = Evaluator(
        Binary(), encoder, POLICY, 0.01, small.timing(), first, {0: "first"}.get, slices=["x"], watched=NONE
    )
    judge.take(commit(0, chosen, len(chosen), chosen[-1].prediction.t))
    assert sum(scores.count for scores in judge.measured.slices[0].scores.values()) == len(chosen)
    assert judge.measured.drift._taken == 2


def silent(chosen: list[Sample], late: int) -> list[Sample]:
    """Return the log of a join for which silence is the negative: every third outcome comes `late` samples later."""
    log, later = list[Sample](), list[tuple[int, Sample]]()
    for n, sample in enumerate(chosen):
        in_time = sample.label == 1 and n % 3
        log.append(sample if in_time else msgspec.structs.replace(sample, kind=NEGATIVE, label=0.0))
        if sample.label == 1 and not in_time:
            later.append((n + late, msgspec.structs.replace(sample, kind=CORRECTION, revision=1)))
        while later and later[0][0] <= n:
            log.append(later.pop(0)[1])
    return log + [sample for _, sample in later]


@pytest.mark.parametrize("late", [1, 4])
def test_an_id_is_measured_once_with_its_last_label(late: int) -> None:
    chosen = small.samples(900)
    parts = cut(silent(chosen, late), 100)
    corrected, _ = run(parts, Oracle(), ENDLESS, SILENCE)
    known, _ = run(cut(chosen, 100), Oracle(), ENDLESS)
    ours, theirs = corrected.measured.totals(), known.measured.totals()
    assert ours["served"].count == 900 < sum(map(len, parts))
    for who in theirs.keys() - {"frozen_live"}:  # whose intercept has followed the negatives
        assert ours[who].values == pytest.approx(theirs[who].values)


def test_a_correction_changes_what_a_trial_compares() -> None:
    chosen = small.samples(1_400)
    known, corrected, never = (
        compared(run(cut(log, 100), Oracle(), ENDLESS, SILENCE)[0]).sums
        for log in (chosen, silent(chosen, 2), silent(chosen, 9_999))
    )
    assert min(known.samples, corrected.samples, never.samples) > 1_200
    assert corrected.mean == pytest.approx(known.mean, rel=0.05)
    assert never.mean < 0.9 * known.mean


def test_numbers_are_measured_in_their_own_spreads_from_the_first_on_also_by_slice() -> None:
    """A label in millions, whose spread is not known yet, is not most of the loss; each slice has the unit of all."""
    encoder, first = Encoder(small.Point, small.encode), Reign(0, "first", Oracle(), -1)
    judge = Evaluator(
        Regression(),
        encoder,
        POLICY,
        0.01,
        Timing.of(JOIN),
        first,
        {0: "first"}.get,
        slices=["kind"],
        share_of=lambda _: 1.0,
    )
    dear = [msgspec.structs.replace(one, label=1e6 * (2 + n % 2)) for n, one in enumerate(small.samples(400))]
    learned = 0
    for number, part in enumerate((dear[:20], dear[20:])):
        learned += len(part)
        scale = (0.0, 1.0) if number == 0 else (2.5e6, 5e5)
        taken = commit(number, part, learned, max(one.prediction.t for one in part))
        judge.take(msgspec.structs.replace(taken, scale=scale))
    total = judge.measured.totals()["served"]
    assert total.count == 400
    assert 0.5 < total.loss < 10  # always answered 0: five spreads off, by Huber's loss
    (by_value,) = (one.scores for one in judge.measured.slices)
    assert by_value["(missing)"].loss == pytest.approx(total.loss, rel=0.05)
