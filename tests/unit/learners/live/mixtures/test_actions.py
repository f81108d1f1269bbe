"""Live experts of a bandit: a table of what each action brings, the policies' mixture, the pool, and the learner."""

from collections.abc import Sequence
from itertools import pairwise

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw
from torch import Tensor

from compressors.recipe import Recipe
from deploy.checks.learning import live_of
from deploy.learning.candidates import make_learner
from deploy.pipeline import Pipeline
from learners.commits.state import pack_state, unpack_state
from learners.live.compiled import Doubles
from learners.live.experts.expert import Pooled
from learners.live.features.reader import Reader
from learners.live.held import Asked, Census, Told
from learners.live.make import linear_of_actions, pool
from learners.live.mixtures.policies import Policies
from learners.live.news import AGES_MS, DAY_MS
from learners.live.pool import Pool
from learners.live.settings import Intercept, Live, Wide
from learners.tasks.bandit import Bandit
from streams.errors import ConfigError
from streams.events import Prediction, Sample

HOUR_MS = DAY_MS // 24
WIDE = Wide(bits=10)
TASK = Bandit(("red", "blue", "green"), rewards=(0.0, 10.0))
ROBUST = Bandit(3, rewards=(0.0, 10.0), doubly_robust=True)
hostile = st.sampled_from([0.0, 1.0, 2.0, 3.0, -1.0, 0.5, 1e300, -1e300, float("nan"), float("inf"), 1e-300])


class Row(msgspec.Struct):
    place: str
    hour: int


def best(row: Row) -> int:
    """Return the best action, which the place says, and its cross with the hour."""
    return ("abc".index(row.place) + (row.hour == 3)) % 3


def rows_and_targets(n: int, seed: int = 0) -> tuple[Sequence[Row], Doubles]:
    """Another system acts, mostly as is worst; the best action brings 8 of 10, the others 2."""
    draw = np.random.default_rng(seed)
    rows = [Row("abc"[draw.integers(3)], int(draw.integers(4))) for _ in range(n)]
    wise = np.array([best(row) for row in rows])
    usual = draw.random(n) < 0.7
    actions = np.where(usual, (wise + 1) % 3, draw.integers(0, 3, n))
    propensity = np.where(actions == (wise + 1) % 3, 0.8, 0.1)
    rewards = 10.0 * (draw.random(n) < np.where(actions == wise, 0.8, 0.2))
    return rows, np.column_stack([rewards, actions, propensity])


def made(task: Bandit = TASK) -> Pooled:
    return linear_of_actions(WIDE, Reader(WIDE.fields(Row)), task)


def same(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> bool:
    return pack_state(ours) == pack_state(theirs)


# ── The table ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_reward_teaches_what_its_own_action_brings() -> None:
    expert, (rows, targets) = made(), rows_and_targets(2_000)
    blue = targets[:, 1] == 1
    expert.learn([row for row, of in zip(rows, blue, strict=True) if of], targets[blue], np.ones(blue.sum()))
    z = expert.answer(rows)
    assert (z[:, [0, 2]] == 0).all()
    assert np.ptp(z[:, 1]) > 1
    expert.learn(rows, targets, np.ones(2_000))
    wise = np.array([best(row) for row in rows])
    assert (expert.answer(rows).argmax(1) == wise).mean() > 0.95


@pytest.mark.parametrize("task", [TASK, ROBUST])
def test_cuts_states_and_followers_have_the_same_bits(task: Bandit) -> None:
    whole, parts, server = made(task), made(task), made(task)
    rows, targets = rows_and_targets(300)
    whole.learn(rows, targets, np.ones(300))
    for start, stop in pairwise([0, 1, 64, 65, 190, 300]):
        parts.learn(rows[start:stop], targets[start:stop], np.ones(stop - start))
        server.follow(unpack_state(pack_state(parts.changes(whole=start == 0))))
        np.testing.assert_array_equal(server.answer(rows), parts.answer(rows))
        state = unpack_state(pack_state(parts.state()))
        parts.load(state)
    assert same(whole.state(), parts.state())
    z = whole.answer(rows)
    assert z.shape == (300, task.outputs)
    if task.doubly_robust:
        np.testing.assert_array_equal(z[:, 3:], 1 / (1 + np.exp(-z[:, :3])))
    whole.renew(rows[:0], targets[:0], np.ones(0))
    assert (whole.answer(rows)[:, :3] == 0).all()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(hostile, hostile, hostile, hostile), min_size=20, max_size=20))
def test_no_target_or_weight_makes_them_useless(told: list[tuple[float, float, float, float]]) -> None:
    expert, mixture, (rows, _) = made(), Policies(TASK, 3), rows_and_targets(20)
    targets, weights = np.array(told)[:, :3], np.array(told)[:, 3]
    for _ in range(3):
        expert.learn(rows, targets, weights)
        mixture.learn(np.resize(targets, (20, 9)), targets, weights)
    assert np.isfinite(expert.answer(rows)).all()
    assert all(value.isfinite().all() for value in (expert.state() | mixture.state()).values())
    p = np.exp(mixture.answer(np.resize(targets, (20, 9))))
    assert p.sum(1) == pytest.approx(np.ones(20), abs=1e-6)


# ── The mixture of policies ─────────────────────────────────────────────────────────────────────────────────────────


def said(rows: Sequence[Row], wise: int, others: int = 1) -> Doubles:
    """Return what a version and `others` say, of which the one that is `wise` knows the best action."""
    right = 4.0 * np.eye(3)[[best(row) for row in rows]] - 2
    words = [right if at == wise else np.roll(right, 1, 1) for at in range(1 + others)]
    return np.concatenate(words, axis=1)


@pytest.mark.parametrize(("wise", "others"), [(0, 1), (1, 1), (2, 2)])
@pytest.mark.parametrize("most", [10.0, 100.0])
def test_who_is_right_is_followed_in_any_range_of_rewards(wise: int, others: int, most: float) -> None:
    rows, targets = rows_and_targets(800)
    mixture = Policies(Bandit(3, rewards=(0.0, most)), 1 + others)
    mixture.learn(said(rows, wise, others), targets, np.ones(800))
    policy = np.exp(mixture.answer(said(rows, wise, others)))
    assert policy[np.arange(800), [best(row) for row in rows]].mean() > 0.9


def test_one_without_an_answer_is_spoken_for_by_the_others() -> None:
    words = np.array([[np.nan, np.nan, np.nan, 0.1, 0.0, -0.2]])
    spoken = np.array([[0.8, 0.0, -1.6, 0.1, 0.0, -0.2]])
    np.testing.assert_allclose(Policies(TASK, 2).answer(words), Policies(TASK, 2).answer(spoken))
    nobody = np.exp(Policies(TASK, 2).answer(np.full((1, 6), np.nan)))
    np.testing.assert_allclose(nobody, np.full((1, 3), 1 / 3))


# ── The pool ────────────────────────────────────────────────────────────────────────────────────────────────────────


def make(task: Bandit = TASK) -> Pool:
    return pool(Live(wide=WIDE), Row, task)


def events(live: Pool, n: int, delay_ms: int) -> list[Told | Census]:
    """Ask n rows, an hour apart, of a version that knows nothing, and return what is told of them."""
    rows, targets = rows_and_targets(n)
    width, found = live.outputs, list[Told | Census]()
    for i, (row, target) in enumerate(zip(rows, targets.tolist(), strict=True)):
        words, served = live.answer([row], np.zeros((1, width)), (0.0,) * width)
        assert served.shape == (1, width)
        told = (*target, *(2.0,) * (width - 3))
        found.append(Told(Asked(str(i), i * HOUR_MS, row, tuple(words[0].tolist())), i * HOUR_MS + delay_ms, told))
    found += [Census(i * HOUR_MS - 1, i, AGES_MS[-1]) for i in range(n + 100)]
    return sorted(found, key=lambda one: one.at_ms)


@pytest.mark.parametrize(("delay_ms", "task"), [(HOUR_MS // 2, TASK), (5 * DAY_MS, TASK), (HOUR_MS // 2, ROBUST)])
def test_a_pool_learns_early_and_late_news_and_cuts_change_no_bit(delay_ms: int, task: Bandit) -> None:
    told = events(make(task), 600, delay_ms)
    whole, parts, server = make(task), make(task), make(task)
    whole.learn(told)
    for start, stop in pairwise([0, 7, 300, 301, len(told)]):
        parts.learn(told[start:stop])
        server.follow(unpack_state(pack_state(parts.changes(whole=start == 0))))
        state = parts.state()
        parts = make(task)
        parts.load(unpack_state(pack_state(state)))
        server.follow(unpack_state(pack_state(parts.changes(whole=True))))
    assert whole.names == ("deep", "intercept", "w4")
    assert whole.late is (delay_ms > DAY_MS)
    assert same(whole.state(), parts.state())
    (rows, _), deep = rows_and_targets(300, 1), np.zeros((300, task.outputs))
    _, served = whole.answer(rows, deep)
    policy = task.policy(torch.from_numpy(served)).numpy()
    right = policy[np.arange(300), [best(row) for row in rows]]
    assert right.mean() > 0.5  # a third by chance, and the half that is the version's, since nothing was said yet
    np.testing.assert_array_equal(server.answer(rows, deep)[1], served)
    if task.doubly_robust:
        assert (served[:, 3:] > 0).all()
        assert (served[:, 3:] < 1).all()


@pytest.mark.parametrize("wise", [False, True])
def test_experts_earn_their_share_and_a_wise_version_keeps_its_own(wise: bool) -> None:
    live, (rows, targets), right = make(), rows_and_targets(800), list[float]()
    deep = 8.0 * np.eye(3)[[best(row) for row in rows]] * wise
    for start in range(0, 800, 20):
        part = rows[start : start + 20]
        words, served = live.answer(part, deep[start : start + 20], (0.0,) * 3)
        policy = np.exp(served) / np.exp(served).sum(1, keepdims=True)
        right += policy[np.arange(20), [best(row) for row in part]].tolist()
        told = zip(words.tolist(), targets[start : start + 20].tolist(), strict=True)
        live.learn(
            [
                Told(Asked(str(n), n * HOUR_MS, rows[n], tuple(one)), n * HOUR_MS + 1, tuple(target))
                for n, (one, target) in enumerate(told, start)
            ]
            + [Census((start + 20) * HOUR_MS, start + 20, DAY_MS)]
        )
    assert np.mean(right[-200:]) > (0.97 if wise else 0.75)


# ── The pipeline ────────────────────────────────────────────────────────────────────────────────────────────────────


def sample(at: int, row: Row, label: tuple[float, ...], words: Doubles, served: Doubles) -> Sample:
    logits, features = (0.0,) * 3, Raw(msgspec.json.encode(row))
    asked_ = Prediction(
        str(at), at * 1_000, 0, logits, logits, 0, features, tuple(words[6:].tolist()), tuple(served.tolist())
    )
    return Sample(str(at), "joined", 0, at * 1_000, label, at * 1_000 + 500, asked_)


def test_a_learner_tells_them_the_propensity_of_what_was_served() -> None:
    pipeline = Pipeline(name="colours", features=Row, task=TASK, live=Live(wide=WIDE), recipe=Recipe())
    rows, targets = rows_and_targets(60)
    left, told = make_learner(pipeline), make_learner(pipeline)
    assert left.live is not None
    words, served = left.live.answer(rows, np.zeros((60, 3)), (0.0,) * 3)
    served += np.linspace(0, 2, 180).reshape(60, 3)
    known = TASK.policy(torch.from_numpy(served)).double()
    for learner in (left, told):
        samples = []
        for n, (reward, action, _) in enumerate(targets.tolist()):
            p = 0.0 if learner is left else float(known[n, int(action)])
            samples.append(sample(n, rows[n], (reward, action, p), words[n], served[n]))
        learner.learn(samples)
    assert told.live is not None
    assert same(left.live.state(), told.live.state())
    assert not same(left.live.state(), make(TASK).state())


class Logged(Row):
    action: str
    propensity: float


def test_what_another_system_did_is_no_feature() -> None:
    kept = WIDE.fields(Logged, Bandit(3, logged=True).told)
    assert (kept.categories, kept.numbers) == (("place",), ("hour",))
    assert WIDE.fields(Logged, Bandit(3).told) == WIDE.fields(Logged)
    only = msgspec.defstruct("Only", [("action", str), ("propensity", float)])
    assert isinstance(live_of(None, Bandit(3, logged=True), only), Intercept)
    with pytest.raises(ConfigError, match="the features have action, propensity, and no other field to read"):
        live_of(Live(), Bandit(3, logged=True), only)


def test_a_bandit_s_pipeline_has_them_by_itself() -> None:
    assert isinstance(Pipeline(name="colours", features=Row, task=TASK).live, Live)
