"""Live experts of a number: the table, the mixture, and the pool of both."""

from collections.abc import Sequence
from itertools import pairwise

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from learners.commits.state import pack_state, unpack_state
from learners.live.compiled import Doubles
from learners.live.experts.wide import Linear
from learners.live.features.reader import Reader
from learners.live.held import Asked, Census, Told
from learners.live.make import linear_of_numbers, pool
from learners.live.mixtures.number import Number
from learners.live.news import AGES_MS, DAY_MS
from learners.live.pool import Pool
from learners.live.settings import Live, Wide
from learners.live.tables.number import FIRST
from learners.tasks.regression import Quantile, Regression

HOUR_MS = DAY_MS // 24
WIDE = Wide(bits=10)
HOSTILE = [0.0, -1.0, 1e-300, 1e300, -1e300, np.inf, -np.inf, np.nan]
hostile = st.floats() | st.sampled_from(HOSTILE)


class Row(msgspec.Struct):
    place: str
    hour: int
    size: float


def rows_and_numbers(n: int, seed: int = 0, unit: float = 1.0) -> tuple[Sequence[Row], Doubles]:
    """A cross, a number, and noise of 0.3 units, about 5."""
    draw = np.random.default_rng(seed)
    rows = [Row("ab"[draw.integers(2)], int(draw.integers(4)), float(draw.normal())) for _ in range(n)]
    right = [5 + (2 if (row.place == "a") == (row.hour < 2) else -2) + row.size for row in rows]
    return rows, unit * (np.array(right) + draw.normal(0, 0.3, n))


def linear(delta: float = 1.0, level: float = 0.0) -> Linear:
    return linear_of_numbers(WIDE, Reader(WIDE.fields(Row)), delta, level)


def same(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> bool:
    return all(value.numpy().tobytes() == theirs[name].numpy().tobytes() for name, value in ours.items())


# ── The table ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("unit", [1.0, 1e4, 1e-6, -1e30])
def test_a_table_learns_numbers_in_any_unit(unit: float) -> None:
    (rows, labels), (asked, truth), expert = rows_and_numbers(2_000, 0, unit), rows_and_numbers(500, 1, unit), linear()
    expert.learn(rows, labels, np.ones(2_000))
    said = expert.answer(asked)[:, 0]
    assert np.abs(said - truth).mean() < 0.35 * abs(unit)  # 0.24 is the noise; 2.1 without the rows


@pytest.mark.parametrize("level", [0.1, 0.5, 0.9])
def test_a_quantile_has_its_share_of_labels_below(level: float) -> None:
    (rows, labels), (asked, truth), expert = rows_and_numbers(6_000), rows_and_numbers(2_000, 1), linear(level=level)
    expert.learn(rows, labels, np.ones(6_000))
    assert (truth <= expert.answer(asked)[:, 0]).mean() == pytest.approx(level, abs=0.06)


def test_a_wild_label_moves_it_little_and_a_wild_unit_is_left() -> None:
    rows, labels = rows_and_numbers(4_000)
    wild = labels.copy()
    wild[[0, 3, 100, 1_000, 2_000]] *= 1e5
    expert, clean = linear(), linear()
    expert.learn(rows, wild, np.ones(4_000))
    clean.learn(rows, labels, np.ones(4_000))
    asked, truth = rows_and_numbers(500, 1)
    ours, theirs = (np.abs(one.answer(asked)[:, 0] - truth).mean() for one in (expert, clean))
    assert ours < 1.2 * theirs


def test_before_the_first_labels_it_says_nothing() -> None:
    rows, labels = rows_and_numbers(FIRST)
    expert = linear()
    expert.learn(rows[1:], labels[1:], np.ones(FIRST - 1))
    assert np.isnan(expert.answer(rows)).all()
    expert.learn(rows[:1], labels[:1], np.ones(1))
    assert np.isfinite(expert.answer(rows)).all()


@pytest.mark.parametrize("seed", range(3))
def test_cuts_a_saved_state_and_following_change_no_bit_of_the_table(seed: int) -> None:
    rows, labels = rows_and_numbers(300, seed)
    rows, labels[20:] = [Row("z", 9, 0.0)] * 20 + list(rows[20:]), 50 * labels[20:]  # begins anew, where no z comes
    weights = np.random.default_rng(seed).choice([0.0, 0.5, 1.0, 3.0], 300)
    whole, parts, server = linear(), linear(), linear()
    whole.learn(rows, labels, weights)
    ends = [0, *sorted([21, *np.random.default_rng(seed).integers(0, 301, 6).tolist()]), 300]
    for start, stop in pairwise(ends):
        parts.learn(rows[start:stop], labels[start:stop], weights[start:stop])
        server.follow(unpack_state(pack_state(parts.changes(whole=start == 0))))
        np.testing.assert_array_equal(server.answer(rows), parts.answer(rows))
        state = unpack_state(pack_state(parts.state()))
        parts.load(state)
    assert same(whole.state(), parts.state())
    np.testing.assert_array_equal(whole.answer(rows)[:, 0], [parts.answer([row])[0, 0] for row in rows])


@settings(max_examples=40, deadline=None)
@given(
    st.lists(hostile, min_size=60, max_size=60),
    st.lists(hostile, min_size=60, max_size=60),
    st.sampled_from([(1.0, 0.0), (1e200, 0.0), (1.0, 0.9)]),
)
def test_no_label_or_weight_makes_it_useless(
    labels: list[float], weights: list[float], shape: tuple[float, float]
) -> None:
    expert, (rows, _) = linear(*shape), rows_and_numbers(60)
    said = np.stack([labels, labels, labels], 1)
    mixture = Number(*shape, 3)
    for _ in range(3):
        expert.learn(rows, np.array(labels), np.array(weights))
        mixture.learn(np.add(said, [0.0, 1.0, 2.0]), np.array(labels), np.array(weights))
    state = expert.state()
    assert all(value.isfinite().all() for name, value in state.items() if not name.endswith("constants"))
    assert all(value.isfinite().all() for value in mixture.state().values())
    assert np.isfinite(mixture.answer(said)).all()
    known = np.isfinite(np.array(labels)) & (np.array(weights) > 0) & np.isfinite(np.array(weights))
    assert np.isfinite(expert.answer(rows)).all() == (3 * known.sum() >= FIRST)


# ── The mixture ─────────────────────────────────────────────────────────────────────────────────────────────────────


def prequential(mixture: Number, said: Doubles, labels: Doubles) -> Doubles:
    answers = []
    for n in range(len(labels)):
        answers.append(mixture.answer(said[n : n + 1])[0, 0])
        mixture.learn(said[n : n + 1], labels[n : n + 1], np.ones(1))
    return np.array(answers)


@pytest.mark.parametrize("unit", [1.0, 1e8, 1e-6])
@pytest.mark.parametrize("shape", [(1.0, 0.0), (1.0, 0.5)])
def test_what_is_mixed_is_hardly_worse_than_the_best_of_them(shape: tuple[float, float], unit: float) -> None:
    draw = np.random.default_rng(0)
    truth = draw.normal(0, 1, 3_000)
    labels, wrong = truth + draw.normal(0, 0.5, 3_000), draw.normal(0, 1, (2, 3_000))
    said = unit * (100 + np.stack([wrong[0], truth, wrong[1]], 1))
    found = prequential(Number(*shape, 3), said, unit * (100 + labels)) / unit - 100
    assert np.abs(found[500:] - labels[500:]).mean() < 1.03 * np.abs(truth[500:] - labels[500:]).mean()


def test_one_without_an_answer_is_spoken_for_by_the_others() -> None:
    said, alone = np.array([[1.0, 3.0, np.nan]]), np.array([[1.0, 3.0, 2.0]])
    assert Number(1.0, 0.0, 3).answer(said).tolist() == Number(1.0, 0.0, 3).answer(alone).tolist() == [[2.0]]
    assert Number(1.0, 0.0, 3).answer(np.full((1, 3), np.inf)).tolist() == [[0.0]]


# ── The pool ────────────────────────────────────────────────────────────────────────────────────────────────────────


def events(live: Pool, n: int, delay_ms: int) -> list[Told | Census]:
    """Ask n rows, an hour apart, of a deep part that says 5, and return what is told of them."""
    rows, labels = rows_and_numbers(n)
    found: list[Told | Census] = []
    for i, (row, label) in enumerate(zip(rows, labels.tolist(), strict=True)):
        said, served = live.answer([row], np.full((1, 1), 5.0), (0.1,))
        assert served.shape == (1, 1)
        found.append(Told(Asked(str(i), i * HOUR_MS, row, tuple(said[0].tolist())), i * HOUR_MS + delay_ms, label))
    found += [Census(i * HOUR_MS - 1, i, AGES_MS[-1]) for i in range(n + 100)]
    return sorted(found, key=lambda one: one.at_ms)


@pytest.mark.parametrize("task", [Regression(), Quantile(0.5)])
@pytest.mark.parametrize("delay_ms", [HOUR_MS // 2, 5 * DAY_MS])
def test_a_pool_learns_early_and_late_news_and_cuts_change_no_bit(delay_ms: int, task: Regression | Quantile) -> None:
    def make() -> Pool:
        return pool(Live(wide=WIDE), Row, task)

    told, whole, parts, server = events(make(), 600, delay_ms), make(), make(), make()
    whole.learn(told)
    for start, stop in pairwise([0, 7, 300, 301, len(told)]):
        parts.learn(told[start:stop])
        state = parts.state()
        parts = make()
        parts.load(unpack_state(pack_state(state)))
        server.follow(unpack_state(pack_state(parts.changes(whole=True))))
    assert whole.late is (delay_ms > DAY_MS)
    assert same(whole.state(), parts.state())
    rows, labels = rows_and_numbers(400, 1)
    _, alone = make().answer(rows, np.full((400, 1), 4.5))
    assert (alone == 4.5).all()
    # what the pool recorded had not learned yet, so the mixture trusts little: after it has learned live, much
    for part in range(0, 400, 10):
        said, served = whole.answer(rows[part : part + 10], np.full((10, 1), 5.0))
        assert torch.equal(
            torch.tensor(server.answer(rows[part : part + 10], np.full((10, 1), 5.0))[1]), torch.tensor(served)
        )
    table = said[:, 2]
    assert np.abs(table - labels[-10:]).mean() < 0.6
