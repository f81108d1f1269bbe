"""Live experts of several classes: tables, the mixture, and the pool of both."""

from collections.abc import Sequence
from itertools import pairwise

import msgspec
import numpy as np
import pytest
import torch
from torch import Tensor

from learners.commits.state import pack_state, unpack_state
from learners.live.compiled import Doubles
from learners.live.experts.wide import Linear
from learners.live.features.reader import Reader
from learners.live.held import Asked, Census, Told
from learners.live.make import linear_of_classes, pool
from learners.live.mixtures.softmax import Softmax, log_softmax
from learners.live.news import AGES_MS, DAY_MS
from learners.live.pool import Pool
from learners.live.settings import Live, Wide
from learners.tasks.classes import Classes
from streams.errors import ConfigError

HOUR_MS = DAY_MS // 24
WIDE = Wide(bits=10)
K = 3


class Row(msgspec.Struct):
    place: str
    hour: int


def rows_and_classes(n: int, seed: int = 0) -> tuple[Sequence[Row], Doubles]:
    """The place says which class is likely, with the hour's parity; one of ten is any."""
    draw = np.random.default_rng(seed)
    rows = [Row("abc"[draw.integers(3)], int(draw.integers(4))) for _ in range(n)]
    right = np.array([("abc".index(row.place) + row.hour % 2) % K for row in rows], np.float64)
    return rows, np.where(draw.random(n) < 0.1, draw.integers(K, size=n), right)


def linear() -> Linear:
    return linear_of_classes(WIDE, Reader(WIDE.fields(Row)), K)


def loss(log_p: Doubles, labels: Doubles) -> float:
    return float(-log_p[np.arange(len(labels)), labels.astype(int)].mean())


def same(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, theirs[name]) for name, value in ours.items())


# ── Tables ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_tables_learn_what_only_a_cross_can_say() -> None:
    (rows, labels), (asked, truth), expert = rows_and_classes(3_000), rows_and_classes(1_000, 1), linear()
    expert.learn(rows, labels, np.ones(len(rows)))
    said = expert.answer(asked)
    assert said.shape == (1_000, 2 * K)
    for columns in (slice(0, K), slice(K, 2 * K)):
        assert loss(log_softmax(said[:, columns]), truth) < 0.45  # 0.39 is the best; 1.1 without the cross
    assert expert.answer([]).shape == (0, 2 * K)


@pytest.mark.parametrize("seed", range(3))
def test_cuts_and_a_saved_state_change_no_bit_of_tables(seed: int) -> None:
    rows, labels = rows_and_classes(300, seed)
    weights = np.random.default_rng(seed).choice([0.5, 1.0, 3.0], 300)
    whole, parts = linear(), linear()
    whole.learn(rows, labels, weights)
    ends = [0, *sorted(np.random.default_rng(seed).integers(0, 301, 6).tolist()), 300]
    for start, stop in pairwise(ends):
        parts.learn(rows[start:stop], labels[start:stop], weights[start:stop])
        state = unpack_state(pack_state(parts.state()))
        parts = linear()
        parts.load(state)
    assert same(whole.state(), parts.state())
    np.testing.assert_array_equal(whole.answer(rows), [parts.answer([row])[0] for row in rows])


def test_servers_follow_tables() -> None:
    (rows, labels), learner, server = rows_and_classes(300), linear(), linear()
    for part in range(0, 300, 100):
        learner.learn(rows[part : part + 100], labels[part : part + 100], np.ones(100))
        server.follow(unpack_state(pack_state(learner.changes(whole=part == 0))))
        np.testing.assert_array_equal(server.answer(rows), learner.answer(rows))


def test_no_label_or_weight_reaches_tables_that_is_no_class() -> None:
    (rows, labels), wild, clean = rows_and_classes(60), linear(), linear()
    wrong = np.resize([np.nan, np.inf, -np.inf, -1.0, 3.0, 1e300], 60)
    wild.learn(rows, wrong, np.ones(60))
    wild.learn(rows, labels, np.resize([np.nan, np.inf, -1.0, 0.0], 60))
    np.testing.assert_array_equal(wild.answer(rows), clean.answer(rows))
    wild.learn(rows, labels, np.full(60, 1e9))
    assert np.isfinite(wild.answer(rows)).all()
    assert all(value.isfinite().all() for value in wild.state().values())


# ── The mixture ─────────────────────────────────────────────────────────────────────────────────────────────────────


def stream(n: int, seed: int = 0) -> tuple[Doubles, Doubles]:
    """Return true logits (N, K) and classes."""
    draw = np.random.default_rng(seed)
    logits = draw.normal(0, 1.5, (n, K))
    p = np.exp(log_softmax(logits))
    return logits, np.array([draw.choice(K, p=row / row.sum()) for row in p], np.float64)


def prequential(mixture: Softmax, said: Doubles, labels: Doubles) -> Doubles:
    answers = []
    for n in range(len(labels)):
        answers.append(mixture.answer(said[n : n + 1])[0])
        mixture.learn(said[n : n + 1], labels[n : n + 1], np.ones(1))
    return np.array(answers)


def test_logits_of_the_wrong_scale_are_put_right() -> None:
    logits, labels = stream(4_000)
    found = prequential(Softmax(K, 2), np.concatenate([3 * logits, 3 * logits], 1), labels)[2_000:]
    best, raw = (loss(log_softmax(scale * logits[2_000:]), labels[2_000:]) for scale in (1, 3))
    assert loss(found, labels[2_000:]) < best + 0.02 * (raw - best)


@pytest.mark.parametrize("sure", [1.0, 9.0, 1e6, np.inf])
def test_a_sure_and_wrong_expert_costs_little(sure: float) -> None:
    logits, labels = stream(3_000)
    wrong = np.where(labels[:, None] == np.arange(K), -sure, 0.0)
    found = prequential(Softmax(K, 2), np.concatenate([logits, wrong], 1), labels)
    assert loss(found[500:], labels[500:]) < loss(log_softmax(logits[500:]), labels[500:]) + 0.01


def test_what_is_mixed_is_hardly_worse_than_the_best_of_them() -> None:
    logits, labels = stream(3_000)
    noise = np.random.default_rng(1).normal(0, 3, (3_000, 2 * K))
    found = prequential(Softmax(K, 3), np.concatenate([noise, logits], 1), labels)
    assert loss(found[500:], labels[500:]) < loss(log_softmax(logits[500:]), labels[500:]) + 0.01


def test_one_without_an_answer_is_spoken_for_by_the_others() -> None:
    said = np.array([[1.0, 2.0, 3.0, np.nan, 0.0, 0.0]])
    alone = np.array([[1.0, 2.0, 3.0, 1.0, 2.0, 3.0]])
    assert np.array_equal(Softmax(K, 2).answer(said), Softmax(K, 2).answer(alone))
    assert np.allclose(Softmax(K, 2).answer(np.full((1, 2 * K), np.nan)), -np.log(K))


def test_two_classes_are_mixed_as_yes_and_no_are() -> None:
    """The curvature is the same; only the constant's part of the binary stack is missing."""
    draw = np.random.default_rng(0)
    z = draw.normal(0, 2, 2_000)
    labels = (draw.random(2_000) < 1 / (1 + np.exp(-z / 2))).astype(float)
    said = np.stack([np.zeros(2_000), z, np.zeros(2_000), z], 1)
    from learners.live.mixtures.mixture import Mixture  # noqa: PLC0415 for this comparison alone

    ours, theirs = Softmax(2, 2), Mixture([1, 1])
    ours.learn(said, labels, np.ones(2_000))
    theirs.learn(np.stack([z, z], 1), labels, np.ones(2_000))
    assert np.allclose(ours.theta, theirs.theta[:, :2], atol=0.02)


# ── The pool ────────────────────────────────────────────────────────────────────────────────────────────────────────


def events(live: Pool, n: int, delay_ms: int) -> list[Told | Census]:
    """Ask n rows, an hour apart, of a deep part that says nothing, and return what is told of them."""
    rows, labels = rows_and_classes(n)
    found: list[Told | Census] = []
    for i, (row, label) in enumerate(zip(rows, labels.tolist(), strict=True)):
        said, served = live.answer([row], np.zeros((1, K)), (0.1,) * K)
        assert served.shape == (1, K)
        found.append(Told(Asked(str(i), i * HOUR_MS, row, tuple(said[0].tolist())), i * HOUR_MS + delay_ms, label))
    found += [Census(i * HOUR_MS - 1, i, AGES_MS[-1]) for i in range(n + 100)]
    return sorted(found, key=lambda one: one.at_ms)


@pytest.mark.parametrize("delay_ms", [HOUR_MS // 2, 5 * DAY_MS])
def test_a_pool_learns_early_and_late_news_and_cuts_change_no_bit(delay_ms: int) -> None:
    def make() -> Pool:
        return pool(Live(wide=WIDE), Row, Classes(K))

    told = events(make(), 600, delay_ms)
    whole, parts, server = make(), make(), make()
    whole.learn(told)
    for start, stop in pairwise([0, 7, 300, 301, len(told)]):
        parts.learn(told[start:stop])
        server.follow(unpack_state(pack_state(parts.changes(whole=start == 0))))
        state = parts.state()
        parts = make()
        parts.load(unpack_state(pack_state(state)))
        server.follow(unpack_state(pack_state(parts.changes(whole=True))))
    assert whole.late is (delay_ms > DAY_MS)
    assert same(whole.state(), parts.state())
    rows, labels = rows_and_classes(400, 1)
    said, served = whole.answer(rows, np.zeros((400, K)))
    assert said.shape == (400, whole.columns)
    assert loss(served, labels) < 0.65
    np.testing.assert_array_equal(server.answer(rows, np.zeros((400, K)))[1], served)


def test_before_anything_is_known_the_deep_part_answers_alone() -> None:
    live = pool(Live(wide=WIDE), Row, Classes(K))
    deep = np.array([[1.0, -2.0, 0.5], [np.nan] * K])
    _, served = live.answer(rows_and_classes(2)[0], deep)
    assert served[0].tolist() == [1.0, -2.0, 0.5]
    assert np.allclose(served[1], -np.log(K))


def test_an_experts_columns_are_those_of_each_class() -> None:
    class Flat:
        names = ("flat",)

        def answer(self, rows: Sequence[Row]) -> Doubles:
            return np.zeros((len(rows), 1))

        def learn(self, rows: Sequence[Row], labels: Doubles, weights: Doubles) -> None:
            """Nothing."""

        def state(self) -> dict[str, Tensor]:
            return {}

        def load(self, state: object) -> None:
            """Nothing."""

    live = pool(Live(wide=WIDE, experts=[Flat]), Row, Classes(K))
    with pytest.raises(ConfigError, match=r"answered logits of shape \(1, 1\); they must be of shape \(1, 3\)"):
        live.answer([Row("a", 1)], np.zeros((1, K)))
