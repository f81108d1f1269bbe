"""A commit without the samples of some ids: the others stay in order, in smaller micro-batches."""

import msgspec
from msgspec import Raw

from learners.commits.commit import Run
from learners.commits.forget import id_of, learned, without
from tests.unit.learners.commits.test_commits import grown

NAMES = "abcda"  # of the samples; one of them twice, as of a correction
_, MADE = grown()
COMMIT = msgspec.structs.replace(MADE, samples=[Raw(b'{"id":"%c","kind":"joined"}' % ord(name)) for name in NAMES])


def test_the_samples_of_an_id_are_left_out_and_micro_batches_keep_their_bounds() -> None:
    left = without(COMMIT, {"a", "nobody"})
    assert [id_of(one) for one in left.samples] == ["b", "c", "d"]
    assert (left.batches, left.shadow) == ([2, 1], [[0.2], [0.3], [0.4]])
    assert left.runs == [Run(0, 2, 1), Run(1, 1, 1), Run(0, 3, 1)]
    assert (left.state, left.positions) == (None, COMMIT.positions)


def test_a_micro_batch_of_which_nothing_is_left_is_none() -> None:
    assert without(COMMIT, {"a", "b", "c"}).batches == [1]


def test_a_commit_without_the_ids_is_the_same() -> None:
    assert without(COMMIT, {"nobody"}) is COMMIT
    assert without(COMMIT, ()) is COMMIT


def test_the_samples_of_each_id_are_counted_by_commit() -> None:
    later = msgspec.structs.replace(COMMIT, number=7, samples=COMMIT.samples[1:2])
    assert learned([later, COMMIT], {"a", "d", "nobody"}) == {1: {"a": 2, "d": 1}}
    assert learned([later, COMMIT], {"b"}) == {7: {"b": 1}, 1: {"b": 1}}
