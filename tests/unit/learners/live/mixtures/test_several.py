"""Live experts of several classes at once, any of which may apply: tables, the mixtures, and the pool of both."""

from collections.abc import Sequence
from itertools import pairwise

import msgspec
import numpy as np
import pytest
from torch import Tensor

from learners.commits.state import pack_state, unpack_state
from learners.live.compiled import Doubles
from learners.live.features.reader import Reader
from learners.live.held import Asked, Census, Told
from learners.live.make import linear, linear_of_labels, pool
from learners.live.mixtures.mixture import Mixture
from learners.live.mixtures.several import Several
from learners.live.news import AGES_MS, DAY_MS
from learners.live.past import Past, replay
from learners.live.pool import Pool
from learners.live.settings import Live, Wide
from learners.tasks.multilabel import MultiLabel

HOUR_MS = DAY_MS // 24
WIDE = Wide(bits=10)
TASK = MultiLabel(("sport", "money", "art"))
K = TASK.outputs


class Row(msgspec.Struct):
    place: str
    hour: int


def rows_and_labels(n: int, seed: int = 0) -> tuple[Sequence[Row], Doubles]:
    """Of three classes one is the place's, one a cross's, one a coin's; one label of ten is inverted."""
    draw = np.random.default_rng(seed)
    rows = [Row("abc"[draw.integers(3)], int(draw.integers(4))) for _ in range(n)]
    right = [[row.place == "a", (row.place == "b") != (row.hour % 2 == 1), draw.random() < 0.5] for row in rows]
    return rows, np.where(draw.random((n, K)) < 0.1, 1 - np.array(right), right).astype(np.float64)


def loss(logits: Doubles, labels: Doubles) -> Doubles:
    """Return each class's, (K,)."""
    found: Doubles = np.logaddexp(0, np.where(labels > 0, -logits, logits)).mean(0)
    return found


def same(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> bool:
    return pack_state(ours) == pack_state(theirs)


def test_each_class_has_the_tables_of_a_binary_task_to_the_bit() -> None:
    (rows, labels), reader = rows_and_labels(300), Reader(WIDE.fields(Row))
    expert = linear_of_labels(WIDE, reader, K)
    expert.learn(rows, labels, np.ones(300))
    said = expert.answer(rows)
    assert expert.names == ("nag", "w4")
    assert said.shape == (300, 2 * K)
    for k in range(K):
        alone = linear(WIDE, Reader(WIDE.fields(Row)))
        alone.learn(rows, labels[:, k], np.ones(300))
        np.testing.assert_array_equal(said[:, k::K], alone.answer(rows))
        assert same(of_class(expert.state(), k), alone.state()), (
            "a state is kept as if each class had tables of its own"
        )


def of_class(state: dict[str, Tensor], k: int) -> dict[str, Tensor]:
    """Return the part of a state that is class k's, as a state of one class."""
    classes = {name: value for name, value in state.items() if f".{k}." in name}
    shared = {name: value for name, value in state.items() if name.startswith("features.")}
    return shared | {name.replace(f".{k}.", "."): value for name, value in classes.items()}


def test_each_class_has_the_mixture_of_a_binary_task_to_the_bit() -> None:
    (_, labels), draw = rows_and_labels(200), np.random.default_rng(1)
    said = np.where(draw.random((200, 4 * K)) < 0.1, np.nan, draw.normal(0, 2, (200, 4 * K)))
    several = Several(K, 4)
    for start, stop in ((0, 1), (1, 200)):
        several.learn(said[start:stop], labels[start:stop], np.ones(stop - start))
    for k in range(K):
        alone = Mixture([1.0] * 4)
        alone.learn(said[:, k::K], labels[:, k].copy(), np.ones(200))
        p = alone.answer(said[:, k::K])
        np.testing.assert_array_equal(several.answer(said)[:, k], np.log(p / (1 - p)))
        own = {name.removeprefix(f"{k}."): of for name, of in several.state().items() if name.startswith(f"{k}.")}
        assert same(own, alone.state())


def test_no_label_or_weight_reaches_tables_that_is_not_finite() -> None:
    (rows, labels), wild = rows_and_labels(60), linear_of_labels(WIDE, Reader(WIDE.fields(Row)), K)
    clean = wild.answer(rows)
    wrong = labels.copy()
    wrong[np.arange(60), np.arange(60) % K] = np.resize([np.nan, np.inf, -np.inf], 60)
    wild.learn(rows, wrong, np.ones(60))
    wild.learn(rows, labels, np.resize([np.nan, np.inf, -1.0, 0.0], 60))
    np.testing.assert_array_equal(wild.answer(rows), clean)


def make() -> Pool:
    return pool(Live(wide=WIDE), Row, TASK)


def events(live: Pool, n: int, delay_ms: int) -> list[Told | Census]:
    """Ask n rows, an hour apart, of a deep part that says nothing, and return what is told of them."""
    rows, labels = rows_and_labels(n)
    found: list[Told | Census] = []
    for i, (row, label) in enumerate(zip(rows, labels.tolist(), strict=True)):
        said, served = live.answer([row], np.zeros((1, K)), (0.1,) * K)
        assert served.shape == (1, K)
        asked = Asked(str(i), i * HOUR_MS, row, tuple(said[0].tolist()))
        found.append(Told(asked, i * HOUR_MS + delay_ms, tuple(label)))
    found += [Census(i * HOUR_MS - 1, i, AGES_MS[-1]) for i in range(n + 100)]
    return sorted(found, key=lambda one: one.at_ms)


@pytest.mark.parametrize("delay_ms", [HOUR_MS // 2, 5 * DAY_MS])
def test_a_pool_learns_early_and_late_news_and_cuts_change_no_bit(delay_ms: int) -> None:
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
    rows, labels = rows_and_labels(400, 1)
    said, served = whole.answer(rows, np.zeros((400, K)))
    assert said.shape == (400, whole.columns)
    assert (loss(served, labels) < [0.45, 0.55, 0.75]).all()  # .33, .33 and .69 are the best; .69 without rows
    np.testing.assert_array_equal(server.answer(rows, np.zeros((400, K)))[1], served)


def test_before_anything_is_known_the_deep_part_answers_alone() -> None:
    deep = np.array([[1.0, -2.0, 0.5], [np.nan] * K])
    _, served = make().answer(rows_and_labels(2)[0], deep)
    assert served.tolist() == [[1.0, -2.0, 0.5], [0.0] * K]


def test_a_history_with_times_is_learned_as_it_happened() -> None:
    live, (rows, labels) = make(), rows_and_labels(600)
    past = [
        Past(row, i * HOUR_MS, tuple(label), (i + 1) * HOUR_MS)
        for i, (row, label) in enumerate(zip(rows, labels.tolist(), strict=True))
    ]
    replay(live, past)
    asked, truth = rows_and_labels(400, 1)
    _, served = live.answer(asked, np.full((400, K), np.nan))
    assert (loss(served, truth) < [0.45, 0.55, 0.75]).all()
