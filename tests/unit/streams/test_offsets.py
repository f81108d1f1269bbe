"""A set of offsets is what Python's set of the same numbers is, and its text is short."""

import random

from hypothesis import given
from hypothesis import strategies as st

from streams.offsets import Offsets

RANGES = st.lists(
    st.tuples(st.integers(0, 20_000), st.integers(0, 9_000)).map(lambda r: (r[0], r[0] + r[1])), max_size=6
)
FAR = st.lists(st.integers(0, 1 << 60).map(lambda n: (n, n + 1)), max_size=6)


def plain(ranges: list[tuple[int, int]]) -> set[int]:
    return {offset for start, end in ranges for offset in range(start, end)}


@given(st.one_of(RANGES, FAR), st.one_of(RANGES, FAR))
def test_it_is_a_set(ours: list[tuple[int, int]], others: list[tuple[int, int]]) -> None:
    a, b, left, right = Offsets.of(*ours), Offsets.of(*others), plain(ours), plain(others)
    assert list(a) == sorted(left)
    assert len(a) == len(left)
    assert list(Offsets.unpack(a.pack())) == sorted(left)
    assert set(a | b) == left | right
    assert set(a & b) == left & right
    assert set(a - b) == left - right
    assert all(one in a for one in left)
    assert all((one in a) == (one in left) for one in right)
    if left:
        assert (a.first, a.last) == (min(left), max(left))
    if len(left) > 1:
        lower, upper = a.halves()
        assert (set(lower) | set(upper), bool(lower), bool(upper)) == (left, True, True)


def test_its_text_is_short() -> None:
    assert len(Offsets.of((10, 1_000_010)).pack()) < 10_000
    assert len(Offsets.of(*((n, n + 1) for n in range(0, 100_000, 2))).pack()) < 2_000
    rng = random.Random(1)
    at_random = Offsets.of(*((n, n + 1) for n in range(100_000) if rng.random() < 0.5))
    assert len(at_random.pack()) < 100_000 / 8 * 1.5
