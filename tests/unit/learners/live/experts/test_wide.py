import msgspec
import numpy as np
import pytest

from learners.live.experts.wide import Linear
from learners.live.features.reader import Reader
from learners.live.make import linear as linear_of
from learners.live.settings import Wide
from streams.errors import ConfigError


class Row(msgspec.Struct):
    place: str
    hour: int


def linear(bits: int = 10, tables: tuple[str, ...] = ("nag", "w4")) -> Linear:
    wide = Wide(bits=bits)
    return linear_of(wide, Reader(wide.fields(Row)), tables)


def test_it_learns_what_only_a_cross_can_say() -> None:
    rng = np.random.default_rng(0)
    rows = [Row("ab"[rng.integers(2)], int(rng.integers(2))) for _ in range(2_000)]
    labels = np.array([float((row.place == "a") == (row.hour == 1)) for row in rows])
    expert = linear()
    expert.learn(rows, labels, np.ones(2_000))
    answers = expert.answer([Row("a", 1), Row("a", 0), Row("b", 1), Row("b", 0)])
    assert answers.shape == (4, 2)
    assert (np.abs(answers) > 2).all()
    assert (np.sign(answers) == [[1, 1], [-1, -1], [-1, -1], [1, 1]]).all()


def test_a_column_is_the_same_beside_another_or_alone() -> None:
    rows, labels = [Row("a", 1), Row("b", 2)] * 50, np.array([1.0, 0.0] * 50)
    both, alone = linear(), linear(tables=("w4",))
    for expert in (both, alone):
        expert.learn(rows, labels, np.ones(100))
    assert np.array_equal(both.answer(rows)[:, 1:], alone.answer(rows))
    assert (both.names, alone.names) == (("nag", "w4"), ("w4",))


@pytest.mark.parametrize("other", [linear(bits=11), linear(tables=("w4",))])
def test_a_state_of_another_expert_is_refused_and_changes_nothing(other: Linear) -> None:
    rows, expert = [Row("a", 1)], linear()
    expert.learn(rows, np.ones(1), np.ones(1))
    before = expert.answer(rows)
    with pytest.raises(ConfigError, match=r"the state was made by another expert .* put the old settings of Live back"):
        expert.load(other.state())
    assert np.array_equal(expert.answer(rows), before)


def test_no_rows_have_no_answers_and_teach_nothing() -> None:
    expert = linear()
    expert.learn([], np.empty(0), np.empty(0))
    assert expert.answer([]).shape == (0, 2)
