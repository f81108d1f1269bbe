"""Live experts of a ranking: items as rows, the table of pairs, the mixture of scores, the pool, and the pipeline."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from deploy.checks.learning import live_of
from learners.commits.state import pack_state, unpack_state
from learners.live.compiled import Doubles
from learners.live.experts.expert import Pooled
from learners.live.features.reader import Reader
from learners.live.held import Asked, Census, Told
from learners.live.make import parts, pool
from learners.live.mixtures.orders import Orders
from learners.live.news import AGES_MS, DAY_MS
from learners.live.pool import Pool
from learners.live.reading import read
from learners.live.settings import Intercept, Live, Wide
from learners.tasks.ranking import Ranking
from streams.errors import ConfigError

HOUR_MS = DAY_MS // 24
K = 4
TASK, WIDE = Ranking(K), Wide(bits=12)
hostile = st.sampled_from([0.0, 1.0, -1.0, 2.0, 1e300, float("nan"), float("inf"), -float("inf")])


class Item(msgspec.Struct):
    genre: str
    price: float


class Search(msgspec.Struct):
    country: str
    items: list[Item]


def rows_and_relevances(n: int, seed: int = 0) -> tuple[Sequence[Search], Doubles]:
    """Of two to four items one is clicked: of the genre that the country likes, or else, one time of three, any."""
    draw, rows, labels = np.random.default_rng(seed), list[Search](), np.full((n, K), -1.0)
    for at in range(n):
        genres = draw.permutation(5)[: draw.integers(2, K + 1)].tolist()
        country = int(draw.integers(2))
        liked = [(genre + 2 * country) % 5 for genre in genres]
        best = int(np.argmin(liked)) if draw.random() < 2 / 3 else int(draw.integers(len(genres)))
        rows.append(Search(str(country), [Item(str(genre), round(float(draw.normal()), 3)) for genre in genres]))
        labels[at, : len(genres)] = np.arange(len(genres)) == best
    return rows, labels


def made() -> Pooled:
    return parts(WIDE, Reader(read(WIDE, Search, TASK)), Search, TASK).ours


def same(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> bool:
    return pack_state(ours) == pack_state(theirs)


def in_order(scores: Doubles, labels: Doubles) -> float:
    """Return the share of pairs in order."""
    right = TASK.metrics()[1]
    right.add(torch.from_numpy(scores), torch.from_numpy(labels))
    return right.value


def test_an_item_is_scored_by_itself_and_by_who_asks() -> None:
    expert, (rows, labels), (asked, truth) = made(), rows_and_relevances(800), rows_and_relevances(400, 1)
    assert (expert.answer(asked) == 0).all()
    expert.learn(rows, labels, np.ones(800))
    scores = expert.answer(asked)
    assert scores.shape == (400, K)
    assert in_order(scores, truth) > 0.75  # .84 at best, ½ by chance
    few = [n for n, row in enumerate(asked) if len(row.items) < K]
    assert (scores[few, -1] == 0).all(), "there is no such item"


def test_what_all_items_have_in_common_teaches_nothing() -> None:
    expert, rows = made(), [Search("1", [Item("a", 1.0), Item("a", 1.0)])] * 50
    expert.learn(rows, np.array([[1.0, 0.0, -1.0, -1.0]] * 50), np.ones(50))
    assert np.abs(expert.answer(rows)).max() < 1e-6


def test_an_item_that_nobody_saw_teaches_nothing() -> None:
    left, right, (rows, labels) = made(), made(), rows_and_relevances(60)
    unseen = labels.copy()
    unseen[:, 1] = -1
    left.learn(rows, unseen, np.ones(60))
    fewer = [Search(row.country, [row.items[0], *row.items[2:]]) for row in rows]
    right.learn(fewer, np.delete(np.column_stack([unseen, np.full(60, -1.0)]), 1, 1), np.ones(60))
    w = [{k: v for k, v in of.state().items() if k.startswith("w4.constant")} for of in (left, right)]
    assert same(*w)
    assert not np.array_equal(left.answer(rows), made().answer(rows))


def test_cuts_states_and_followers_have_the_same_bits() -> None:
    whole, cut, server = made(), made(), made()
    rows, labels = rows_and_relevances(200)
    whole.learn(rows, labels, np.ones(200))
    for start, stop in pairwise([0, 1, 64, 65, 150, 200]):
        cut.learn(rows[start:stop], labels[start:stop], np.ones(stop - start))
        server.follow(unpack_state(pack_state(cut.changes(whole=start == 0))))
        np.testing.assert_array_equal(server.answer(rows), cut.answer(rows))
        state = unpack_state(pack_state(cut.state()))
        cut.load(state)
    assert same(whole.state(), cut.state())
    np.testing.assert_array_equal(whole.answer(rows), [whole.answer([row])[0] for row in rows])
    whole.renew(rows[:0], labels[:0], np.ones(0))
    assert (whole.answer(rows) == 0).all()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(hostile, min_size=K + 1, max_size=K + 1), min_size=8, max_size=8))
def test_no_relevance_or_weight_makes_them_useless(told: list[list[float]]) -> None:
    expert, mixture, numbers = made(), Orders(K, 2), np.array(told)
    rows = [Search("0", [Item("a", x) for x in of[:K]]) for of in told]
    for _ in range(3):
        expert.learn(rows, numbers[:, :K], numbers[:, K])
        mixture.learn(np.concatenate([numbers[:, :K], numbers[:, 1:]], 1), numbers[:, :K], numbers[:, K])
    assert np.isfinite(expert.answer(rows)).all()
    assert all(value.isfinite().all() for value in mixture.state().values())
    assert np.isfinite(mixture.answer(np.ones((2, 2 * K)))).all()


@pytest.mark.parametrize("wise", [0, 1])
def test_who_orders_rightly_is_followed_and_scores_of_the_wrong_scale_are_put_right(wise: int) -> None:
    draw, rows = np.random.default_rng(0), 2_000
    truth = draw.normal(0, 1.5, (rows, K))
    clicked = np.array([draw.choice(K, p=np.exp(one) / np.exp(one).sum()) for one in truth])
    words = [draw.normal(0, 1, (rows, K)), draw.normal(0, 1, (rows, K))]
    words[wise] = 0.3 * truth
    mixture, labels = Orders(K, 2), np.eye(K)[clicked]
    mixture.learn(np.concatenate(words, 1), labels, np.ones(rows))
    scores = mixture.answer(np.concatenate(words, 1))
    losses = [TASK.losses(torch.from_numpy(of), torch.from_numpy(labels)).mean() for of in (truth, scores, 0.3 * truth)]
    assert losses[0] < losses[1] < losses[2] - 0.02


def test_one_without_an_answer_is_spoken_for_by_the_others() -> None:
    words = np.array([[*[np.nan] * K, 1.0, 0.0, 2.0, 0.0]])
    assert Orders(K, 2).answer(words).tolist() == [[1.0, 0.0, 2.0, 0.0]]
    assert Orders(K, 2).answer(np.full((1, 2 * K), np.nan)).tolist() == [[0.0] * K]


def make() -> Pool:
    return pool(Live(wide=WIDE), Search, TASK)


def events(live: Pool, n: int, delay_ms: int) -> list[Told | Census]:
    """Ask n rows, an hour apart, of a version that knows nothing, and return what is told of them."""
    rows, labels = rows_and_relevances(n)
    found: list[Told | Census] = []
    for i, (row, label) in enumerate(zip(rows, labels.tolist(), strict=True)):
        said, served = live.answer([row], np.zeros((1, K)), (0.0,) * K)
        assert served.shape == (1, K)
        asked = Asked(str(i), i * HOUR_MS, row, tuple(said[0].tolist()))
        found.append(Told(asked, i * HOUR_MS + delay_ms, tuple(label)))
    found += [Census(i * HOUR_MS - 1, i, AGES_MS[-1]) for i in range(n + 100)]
    return sorted(found, key=lambda one: one.at_ms)


@pytest.mark.parametrize("delay_ms", [HOUR_MS // 2, 5 * DAY_MS])
def test_a_pool_learns_early_and_late_news_and_cuts_change_no_bit(delay_ms: int) -> None:
    told = events(make(), 500, delay_ms)
    whole, some, server = make(), make(), make()
    whole.learn(told)
    for start, stop in pairwise([0, 7, 300, 301, len(told)]):
        some.learn(told[start:stop])
        server.follow(unpack_state(pack_state(some.changes(whole=start == 0))))
        state = some.state()
        some = make()
        some.load(unpack_state(pack_state(state)))
        server.follow(unpack_state(pack_state(some.changes(whole=True))))
    assert whole.names == ("deep", "intercept", "w4")
    assert whole.late is (delay_ms > DAY_MS)
    assert same(whole.state(), some.state())
    (rows, labels), deep = rows_and_relevances(300, 1), np.zeros((300, K))
    _, served = whole.answer(rows, deep)
    assert in_order(served, labels) > 0.75
    np.testing.assert_array_equal(server.answer(rows, deep)[1], served)


def two() -> Any:
    return msgspec.defstruct("Two", [("a", list[Item]), ("b", list[Item])])


def test_a_ranking_has_them_where_one_field_is_a_list_of_structs() -> None:
    assert isinstance(live_of(None, TASK, Search), Live)
    assert isinstance(live_of(None, Ranking(100), Search), Live), "a slot has one weight, however many items there are"
    for kind, said in ((Item, "of Item none is"), (two(), "of Two a, b are")):
        assert isinstance(live_of(None, TASK, kind), Intercept)
        with pytest.raises(ConfigError, match=f"order the items of the one field that is a list of structs; {said}"):
            live_of(Live(), TASK, kind)
    fields = read(Wide(categories=["request.country"], numbers=["item.price"]), Search, TASK)
    assert (fields.categories, fields.numbers) == (("request.country",), ("item.price",))
    with pytest.raises(ConfigError, match=r"no field 'genre'; it has request\.country, request\.items, item\.genre"):
        read(Wide(categories=["genre"]), Search, TASK)
