"""A changed world: when it is seen, what is none, and what live experts, networks and candidates do then."""

from collections.abc import Iterator

import msgspec
import numpy as np
import torch
from msgspec import Raw

from compressors.recipe import Recipe
from deploy.learning.candidates import FEW, distil, make_learner, since
from deploy.pipeline import Pipeline
from learners.commits.commit import Due
from learners.commits.state import pack_state, unpack_state
from learners.live.change import BLOCK, QUIET, YOUNG, Change
from learners.live.features.fields import fields_of
from learners.live.features.reader import Reader
from learners.live.held import Asked, Told
from learners.live.settings import Live, Wide
from learners.online.learner import Learner
from streams.events import Prediction, Sample

HOUR_MS = 3_600_000
AT = YOUNG + 500  # the place of the change
END = AT + 450  # before another one can be seen


class Row(msgspec.Struct):
    """One number, by which the label goes."""

    x: float


def evidence(n: int, signs: np.ndarray, seed: int = 0, hours: int = 1) -> Iterator[Told]:
    """Yield outcomes some hours after their predictions, ten an hour; who serves has always said 3 x."""
    draw = np.random.default_rng(seed)
    x = draw.normal(0, 1, n)
    y = draw.random(n) < 1 / (1 + np.exp(-3 * signs * x))
    for at in range(n):
        t_ms = (at + 1) * HOUR_MS // 10
        yield Told(Asked(str(at), t_ms, Row(float(x[at])), (), 3 * float(x[at])), t_ms + hours * HOUR_MS, float(y[at]))


def change() -> Change:
    return Change(Row, Reader(fields_of(Row)))


def follow(made: Change, given: Iterator[Told]) -> list[int]:
    """Let it follow all; return after how many a change was seen."""
    return [n for n, told in enumerate(given, 1) if made.add(told) and made.judge()]


def signs(n: int, start: int, stop: int) -> np.ndarray:
    found = np.ones(n)
    found[start:stop] = -1
    return found


def test_a_reversed_world_is_seen_once_and_since_when() -> None:
    made = change()
    (seen,) = follow(made, evidence(END, signs(END, AT, END)))
    assert AT < seen <= AT + 250
    assert made.count == 1
    assert AT - 10 <= made.since_ms * 10 // HOUR_MS <= AT + 100
    assert all(told.asked.t_ms > made.since_ms for told in made.since)


def test_neither_noise_nor_a_storm_nor_nothing_served_is_a_change() -> None:
    storm = np.ones(4_000)
    storm[AT : AT + 300] = 0  # all err: labels go by nothing
    for given in (
        evidence(4_000, np.ones(4_000)),
        evidence(4_000, storm),
        (told._replace(asked=told.asked._replace(answer=np.nan)) for told in evidence(3_000, -np.ones(3_000))),
    ):
        made = change()
        assert follow(made, given) == []
        assert (made.count, made.since_ms) == (0, -1)


def test_what_was_answered_before_a_change_was_seen_makes_no_second_one() -> None:
    """Who serves never learns here, so another is seen, but by answers given after the first alone."""
    made, n = change(), AT + 1_500
    given = list(evidence(n, signs(n, AT, n), hours=50))
    first, second = follow(made, iter(given))[:2]
    assert second - first >= QUIET
    seen_ms = given[first - 1].at_ms
    assert given[second - 1].asked.t_ms > seen_ms
    assert made.since_ms >= seen_ms


def test_a_state_goes_on_with_the_same_bits() -> None:
    given = list(evidence(END, signs(END, AT, END)))
    whole, parts = change(), change()
    follow(whole, iter(given))
    for start in range(0, len(given), 7 * BLOCK - 3):
        follow(parts, iter(given[start : start + 7 * BLOCK - 3]))
        state, parts = unpack_state(pack_state(parts.state())), change()
        parts.load(state)
    assert whole.count == 1
    ours, theirs = whole.state(), parts.state()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours.keys() | theirs.keys())


# ── The learner, and what a candidate is made of ────────────────────────────────────────────────────────────────────

PIPELINE = Pipeline(
    name="changes",
    model=lambda: torch.nn.Linear(1, 1),
    features=Row,
    encode=lambda rows: (torch.tensor([[row.x] for row in rows], dtype=torch.float32),),
    live=Live(wide=Wide(bits=8)),
    recipe=Recipe.parse("quantize(int8) -> distill(learning_rate=0.03)"),
)
FLIP, N, ASKED = 1_472, 1_920, 320  # the place of the change, of the end, and every how many they are counted


def samples() -> list[Sample]:
    """Return samples whose labels are reversed from FLIP on; what was served had always said 3 x."""
    found = []
    for told in evidence(N, signs(N, FLIP, N)):
        z, experts = told.asked.answer, (None,) * 12
        asked = Prediction(
            told.asked.id, told.asked.t_ms, 0, (z,), (0.0,), 0, Raw(msgspec.json.encode(told.asked.row)), experts, (z,)
        )
        found.append(Sample(asked.id, "joined", 0, asked.t, told.label, told.at_ms, asked))
    return found


def learned(given: list[Sample], size: int) -> Learner:
    """Return a learner that was told so many at once, and at some places how many were asked."""
    learner = make_learner(PIPELINE)
    for start in range(0, N, size):
        learner.learn(given[start : start + size])
        if (end := start + size) % ASKED == 0 and end < N:
            learner.count(given[end].label_t - 1, end, 7 * 24 * HOUR_MS)
    return learner


def test_all_that_learns_begins_anew_at_one_place_however_the_log_comes() -> None:
    given = samples()
    whole = learned(given, 64)
    assert whole.live is not None
    assert whole.live.news.known
    assert whole.live.changes_seen == 1
    assert whole.changed_ms * 10 // HOUR_MS > FLIP - 20
    others = [learned(given, 32), learned(given, 16), learned(given, 20)]
    for other in others:
        assert other.changed_ms == whole.changed_ms
        ours, theirs = whole.state(), other.state()
        for name in ours:
            if name == "gap":  # bytes, of floats that are as equal as the networks are
                continue
            exact = name.startswith(("live.", "changes"))
            assert torch.equal(ours[name], theirs[name]) if exact else True, name
            assert torch.allclose(ours[name].double(), theirs[name].double(), rtol=1e-4, atol=1e-6), name
    resumed = make_learner(PIPELINE)
    resumed.load({name: tensor for name, tensor in whole.state().items() if name != "gap"})  # of an older release
    assert resumed.gap is None
    resumed.load(unpack_state(pack_state(whole.state())))
    assert {name: tensor.tolist() for name, tensor in resumed.state().items()} == {
        name: tensor.tolist() for name, tensor in whole.state().items()
    }


def test_live_experts_answer_by_the_new_world_and_servers_follow() -> None:
    learner, server = learned(samples(), 32), PIPELINE.experts()
    assert learner.live is not None
    assert server is not None
    server.follow(learner.live.changes(whole=True))
    rows, deep = (Row(-1.5), Row(1.5)), np.array([-4.5, 4.5])
    said, logits = learner.live.answer(rows, deep)
    w4 = said[:, learner.live.names.index("w4")]
    assert w4[0] > 1
    assert w4[1] < -1
    assert logits[0] > 1
    assert logits[1] < -1
    assert np.array_equal(server.answer(rows, deep)[1], logits)


def test_a_candidate_is_made_of_samples_since_the_change_unless_these_are_too_few() -> None:
    given = samples()
    learner = learned(given, 32)
    newer = since(learner, given)
    assert min(sample.prediction.t for sample in newer) > learner.changed_ms
    assert len(newer) == sum(sample.prediction.t > learner.changed_ms for sample in given)
    assert since(learner, given[: len(given) - len(newer) + FEW - 1]) == given[: len(given) - len(newer) + FEW - 1]
    made, _, data = distil(PIPELINE, learner, given)
    assert len(data) == len(newer)
    assert float(made.model(torch.tensor([[1.5]]))) < -1


def test_a_candidate_that_is_due_to_the_change_begins_at_raw_weights_and_learns_labels_alone() -> None:
    given = samples()
    learner = learned(given, 32)
    due = Due("drift", given[-1].label_t, learner.changed_ms)
    learner.drifted(learner.changed_ms)
    raw = dict(learner.shadow.model.named_parameters())
    assert all(torch.equal(mean, raw[name]) for name, mean in learner.shadow.mean.named_parameters())
    state = pack_state(learner.state())
    made, _, data = distil(PIPELINE, learner, given, due)
    assert pack_state(learner.state()) == state
    assert len(data) == sum(sample.prediction.t > learner.changed_ms for sample in given)
    assert float(made.model(torch.tensor([[1.5]]))) < -2
