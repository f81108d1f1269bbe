"""Rows of tokens and numbers into slots of a table: mains, words, then crosses, row after row.

The slot of a token is a multiplication (Knuth's multiplicative hashing), and so is that of a cross, of one token and
the other rotated: `((a ^ rotl(b, 7)) · 0x9E3779B1) >> (32 − bits)`. A number x gives

- z = (x − μ)/σ, at most 5 either way;
- when its knots are known, a piecewise linear curve: between two knots their features are 1 − a and a, beyond 1;
- its interval between knots, a token for crosses.

Crosses are the pairs of two tokens, then token × interval, token × z, interval × interval, until `budget` is spent.
Owns these loops; uint32 arithmetic is cast at each step, since numba makes it uint64. Does not know types of fields, or
who learns.
"""

from typing import Any, NamedTuple

import numpy as np

from learners.live.compiled import Bools, Doubles, Floats, Ints, UInts, compiled
from learners.live.features.rows import Rows
from learners.live.features.spread import KNOTS, LEARNED, Spread, observe

GOLDEN = np.uint32(0x9E3779B1)
SMALL = 256  # a whole number nearer to 0 is a token too
CLIP = 5.0  # of z
FEW = 8  # rows that are hashed and summed together
TINY, HUGE = 1e-6, 1e150  # less is 0; the square of more is no number


class Names(NamedTuple):
    """The tokens that each number can be."""

    missing: UInts  # (numbers,)
    z: UInts  # (numbers,)
    small: UInts  # (numbers, 2 SMALL − 1), 0 where whole numbers are no tokens
    knots: UInts  # (numbers, KNOTS)
    intervals: UInts  # (numbers, KNOTS + 1)


class Hashed(NamedTuple):
    """Rows of features: `ends` (N, 3) says where each row's mains, words and crosses end; they follow each other."""

    slots: UInts
    values: Floats
    ends: Ints

    @property
    def used(self) -> UInts:
        """The slots of all rows."""
        return self.slots[: self.ends[-1, 2] if len(self.ends) else 0]


@compiled
def slot(token: Any, shift: Any) -> Any:
    """Return a token's slot."""
    return np.uint32(np.uint32(token * GOLDEN) >> shift)


@compiled
def turned(token: Any) -> Any:
    """Return a token as the second of a cross: its bits turned by 7."""
    return np.uint32(np.uint32(token << np.uint32(7)) | np.uint32(token >> np.uint32(25)))


@compiled
def cross(
    slots: UInts,
    values: Floats,
    n: int,
    most: int,
    token: Any,
    others: UInts,
    shares: Floats,
    begin: int,
    end: int,
    shift: Any,
) -> int:
    """Add a token's crosses with others, until there are `most` features, and return how many there are."""
    k = max(min(end - begin, most - n), 0)
    for b in range(k):
        slots[n + b] = slot(np.uint32(token ^ others[begin + b]), shift)
        values[n + b] = shares[begin + b]
    return n + k


@compiled
def put(slots: UInts, values: Floats, n: int, token: Any, shift: Any, value: float) -> int:
    """Add a token's feature, if it is not about 0, and return how many there are."""
    slots[n] = slot(token, shift)
    values[n] = value
    return n + int(abs(value) > TINY)


@compiled
def hash_rows(
    rows: Rows, names: Names, spread: Spread, begin: int, budget: int, bits: int, learns: Bools, out: Hashed
) -> None:
    """Write the features of rows `begin`, `begin` + 1, … into `out`, as many as it has `ends`.

    `learns` (N,): whether the spread follows a row's numbers, after it.
    """
    shift = np.uint32(32 - bits)
    read, numbers, words, word_ends = rows  # taken apart once: numba counts a reference at each access
    missing, z_token, small, knot, interval = names
    seen, mean, variance, _, knots = spread
    slots, values, ends = out
    width = read.shape[1] + numbers.shape[1]
    tokens, others, ones = np.empty(width, np.uint32), np.empty(width, np.uint32), np.ones(width, np.float32)
    intervals, zs, z = np.empty(width, np.uint32), np.empty(width, np.uint32), np.empty(width, np.float32)
    scale = 1 / np.sqrt(variance)  # infinite where nothing is known
    n = 0
    for row in range(len(ends)):
        i = begin + row
        c = v = w = 0  # how many tokens, intervals and z's the row has
        for j in range(read.shape[1]):
            tokens[c] = read[i, j]
            c += int(tokens[c] != 0)
        for m in range(numbers.shape[1]):
            x = numbers[i, m]
            if not np.isfinite(x):
                tokens[c] = missing[m]
                c += 1
                continue
            x = min(max(x, -HUGE), HUGE)
            if abs(x) < SMALL and x == np.floor(x):
                tokens[c] = small[m, int(x) + SMALL - 1]
                c += int(tokens[c] != 0)
            if variance[m] > 0:
                z[w], zs[w] = min(max((x - mean[m]) * scale[m], -CLIP), CLIP), turned(z_token[m])
                end = put(slots, values, n, z_token[m], shift, z[w])
                w, n = w + end - n, end
            if seen[m] >= LEARNED:
                k = 0
                for at in range(KNOTS):
                    k += int(x >= knots[m, at])
                share = 1.0
                if 0 < k < KNOTS:  # these knots differ, since x >= one and x < the other
                    share = (x - knots[m, k - 1]) / (knots[m, k] - knots[m, k - 1])
                    n = put(slots, values, n, knot[m, k - 1], shift, 1 - share)
                n = put(slots, values, n, knot[m, min(k, KNOTS - 1)], shift, share)
                intervals[v] = interval[m, k]
                v += 1
            if learns[i]:
                observe(spread, m, x)
                scale[m] = 1 / np.sqrt(variance[m])
        for a in range(c):
            n = put(slots, values, n, tokens[a], shift, 1.0)
        ends[row, 0] = n
        first = word_ends[i - 1] if i else 0
        for j in range(first, word_ends[i]):
            n = put(slots, values, n, words[j], shift, 1 / np.sqrt(word_ends[i] - first))
        ends[row, 1] = n
        most = n + budget
        for a in range(c):
            others[a] = turned(tokens[a])
        for apart in range(1, c):  # so each token has as many pairs, if the budget ends here
            for a in range(c - apart):
                n = cross(slots, values, n, most, tokens[a], others, ones, a + apart, a + apart + 1, shift)
        for b in range(v):
            others[b] = turned(intervals[b])
        for a in range(c):
            n = cross(slots, values, n, most, tokens[a], others, ones, 0, v, shift)
        for a in range(c):
            n = cross(slots, values, n, most, tokens[a], zs, z, 0, w, shift)
        for a in range(v):
            n = cross(slots, values, n, most, intervals[a], others, ones, a + 1, v, shift)
        ends[row, 2] = n


@compiled
def dots(hashed: Hashed, weights: Floats) -> Doubles:
    """Return Σ w_i x_i of each row and head, (N, heads); `weights` (slots, heads)."""
    slots, values, ends = hashed
    heads, start = weights.shape[1], 0
    found = np.empty((len(ends), heads))
    for row in range(len(ends)):
        for head in range(0, heads, 2):  # two sums at once, since each addition waits for the one before
            other = min(head + 1, heads - 1)
            one = two = 0.0
            for i in range(start, ends[row, 2]):
                x = np.float64(values[i])
                one += weights[slots[i], head] * x
                two += weights[slots[i], other] * x
            found[row, head], found[row, other] = one, two
        start = ends[row, 2]
    return found


@compiled
def sums(rows: Rows, names: Names, spread: Spread, budget: int, bits: int, weights: Floats) -> Doubles:
    """Return Σ w_i x_i of each row and head, (N, heads); of a few rows at a time, so that their features stay near."""
    n, learns = len(rows.ends), np.zeros(len(rows.ends), np.bool_)
    words = rows.ends[n - 1] if n else 0
    most = FEW * (rows.tokens.shape[1] + 4 * rows.numbers.shape[1] + budget) + words
    slots, values, ends = np.empty(most, np.uint32), np.empty(most, np.float32), np.empty((FEW, 3), np.int64)
    found = np.empty((n, weights.shape[1]))
    for begin in range(0, n, FEW):
        out = Hashed(slots, values, ends[: min(FEW, n - begin)])
        hash_rows(rows, names, spread, begin, budget, bits, learns, out)
        found[begin : begin + FEW] = dots(out, weights)
    return found


@compiled
def dot(hashed: Hashed, weights: Floats) -> Doubles:
    """Return Σ w_i x_i of each row (N,), for one weight a slot."""
    slots, values, ends = hashed
    found, start = np.zeros(len(ends)), 0
    for row in range(len(ends)):
        for i in range(start, ends[row, 2]):
            found[row] += weights[slots[i]] * np.float64(values[i])
        start = ends[row, 2]
    return found
