"""Features of rows against plain Python, which says the same more slowly."""

import math
from collections.abc import Iterator, Sequence
from itertools import combinations, pairwise, product
from typing import Any

import msgspec
import numpy as np
import pytest

from learners.live.features.features import CHUNK, Features
from learners.live.features.fields import fields_of
from learners.live.features.hashing import CLIP
from learners.live.features.reader import Reader, crc32
from learners.live.features.spread import FROM, KNOTS, LEARNED, PULLED

BITS = 18


class Row(msgspec.Struct):
    place: str
    hour: int
    price: float | None
    cost: float = 0.0


def slot(token: int) -> int:
    return (token * 0x9E3779B1 & 0xFFFFFFFF) >> (32 - BITS)


def cross(a: int, b: int) -> int:
    return slot(a ^ ((b << 7 | b >> 25) & 0xFFFFFFFF))


def features(crosses: int = 512, kind: type = Row, **given: Any) -> Features:
    return Features(Reader(fields_of(kind, **given)), crosses, BITS)


def parts(made: Features, rows: Sequence[Any], learns: bool = False) -> Iterator[list[list[tuple[int, float]]]]:
    """Yield each row's mains, words and crosses."""
    mask = np.full(len(rows), learns)
    for _, hashed in made.hashed(rows, mask):
        start = 0
        for ends in hashed.ends.tolist():
            edges = [start, *ends]
            yield [
                list(zip(hashed.slots[a:b].tolist(), hashed.values[a:b].tolist(), strict=True))
                for a, b in pairwise(edges)
            ]
            start = ends[-1]


def drawn(n: int, seed: int = 0) -> list[Row]:
    rng = np.random.default_rng(seed)
    return [Row(f"p{rng.integers(5)}", int(rng.integers(24)), float(rng.normal(5, 2)), 1.0) for _ in range(n)]


def expected(row: Row, numbers: dict[str, list[float]]) -> tuple[dict[int, float], list[int], dict[int, float]]:
    """Return the mains, the crosses of tokens and intervals, and the crosses with z, after the numbers given."""
    tokens, intervals, zs, mains = [crc32(f"place={row.place}")], [], {}, {}
    for name, seen in numbers.items():
        x, first = getattr(row, name), np.sort(seen[:LEARNED])
        if name == "hour":
            tokens.append(crc32(f"hour={x}"))
        z = max(min((x - np.mean(seen)) / np.std(seen), CLIP), -CLIP) if np.std(seen) > 0 else 0.0
        if z:
            zs[crc32(f"{name}*")] = z
        knots = [first[(k + 1) * LEARNED // (KNOTS + 1)] for k in range(KNOTS)]
        k = sum(x >= knot for knot in knots)
        share = (x - knots[k - 1]) / (knots[k] - knots[k - 1]) if 0 < k < KNOTS else 1.0
        for at, value in ((k - 1, 1 - share), (min(k, KNOTS - 1), share)):
            if value:
                mains[slot(crc32(f"{name}^{at}"))] = value
        intervals.append(crc32(f"{name}|{k}"))
    mains |= {slot(token): z for token, z in zs.items()} | {slot(token): 1.0 for token in tokens}
    pairs = [*combinations(tokens, 2), *product(tokens, intervals), *combinations(intervals, 2)]
    return mains, [cross(a, b) for a, b in pairs], {cross(a, b): zs[b] for a, b in product(tokens, zs)}


def test_a_row_s_features_are_those_of_plain_python() -> None:
    made, rows = features(), drawn(LEARNED)
    [*parts(made, rows, learns=True)]
    seen = {name: [getattr(row, name) for row in rows] for name in ("hour", "price", "cost")}
    for row, found in zip(drawn(40, seed=1), parts(made, drawn(40, seed=1)), strict=True):
        mains, pairs, with_z = expected(row, seen)
        assert dict(found[0]) == pytest.approx(mains, abs=1e-5)
        assert sorted(at for at, _ in found[2]) == sorted([*pairs, *with_z])
        assert {at: value for at, value in found[2] if at in with_z} == pytest.approx(with_z, abs=1e-5)
        assert all(value == 1 for at, value in found[2] if at not in with_z)


def test_crosses_end_with_the_budget_in_their_order() -> None:
    rows = drawn(LEARNED + 1)
    whole = features()
    [*parts(whole, rows[:-1], learns=True)]
    [every] = parts(whole, rows[-1:])
    for budget in range(len(every[2]) + 3):
        made = features(budget)
        [*parts(made, rows[:-1], learns=True)]
        assert [*parts(made, rows[-1:])] == [[every[0], every[1], every[2][:budget]]]


def test_each_token_has_as_many_pairs_where_the_budget_ends() -> None:
    kind = msgspec.defstruct("Wide", [(name, str) for name in "abcdef"])
    [(_, _, crosses)] = parts(features(9, kind), [kind(*"uvwxyz")])
    tokens = [crc32(f"{name}={value}") for name, value in zip("abcdef", "uvwxyz", strict=True)]
    near = [(tokens[a], tokens[a + apart]) for apart in (1, 2) for a in range(6 - apart)]
    assert [at for at, _ in crosses] == [cross(a, b) for a, b in near]


def test_a_number_that_is_missing_is_a_token_and_a_whole_number_one_while_it_is_small() -> None:
    class One(msgspec.Struct):
        count: int | None

    made = features(kind=One)
    found = [mains for mains, _, _ in parts(made, [One(None), One(-255), One(255), One(256), One(10**400), One(0)])]
    tokens = [crc32("count"), crc32("count=-255"), crc32("count=255"), None, crc32("count"), crc32("count=0")]
    assert found == [[(slot(token), 1.0)] if token else [] for token in tokens]


def test_words_share_one_square() -> None:
    [(_, words, _)] = parts(features(texts=["place"]), [Row("a b c d", 1, None)])
    assert words == [(slot(crc32(f"place {word}")), 0.5) for word in "abcd"]


def test_an_outlier_is_pulled_from_the_hundredth_value_on() -> None:
    made = features(numbers=["price"], categories=())
    values = [float(i % 7) for i in range(FROM)]
    rows = [Row("a", 1, value) for value in values]
    [*parts(made, [*rows, Row("a", 1, 1e300)], learns=True)]
    pulled = np.append(values, np.mean(values) + PULLED * np.std(values))
    arrays = made.arrays()
    assert arrays["mean"][0] == pytest.approx(np.mean(pulled))
    assert arrays["variance"][0] == pytest.approx(np.var(pulled))


def test_a_constant_and_equal_knots_divide_nothing_by_zero() -> None:
    made = features()
    rows = [Row("a", 5, 0.0 if i % 10 else 1.0) for i in range(LEARNED)]
    [*parts(made, rows, learns=True)]
    for mains, _, crosses in parts(made, [Row("a", 5, x) for x in (0.0, 1.0, 0.5, -1.0, 2.0, math.pi)]):
        assert all(math.isfinite(value) for _, value in mains + crosses)
        assert slot(crc32("hour*")) not in dict(mains)


@pytest.mark.parametrize("n", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 5])
def test_rows_come_in_chunks_and_all_of_them(n: int) -> None:
    made = features()
    assert sum(part.stop - part.start for part, _ in made.hashed(drawn(n))) == n == len([*parts(made, drawn(n))])
