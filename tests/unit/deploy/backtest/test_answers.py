"""What a policy's own versions would have answered: the log's bits where they did, else their own."""

import msgspec
import pytest
import torch
from msgspec import Raw
from msgspec.structs import replace
from torch import Tensor

from deploy.backtest.answers import Answered, Answers
from deploy.registry.records import Champion
from learners.commits.commit import Commit, Run
from learners.online.intercept import Intercept
from streams.events import Sample
from tests import small


def champion(number: int, artifact: str, commit: int | None, offset: float = 0.0) -> Champion:
    return Champion(
        number=number, artifact=artifact, candidate=None, offset=(offset,), at_ms=0, learned=0, evidence="",
        commit=commit,
    )  # fmt: skip


def commit(number: int, entries: list[Sample], intercept: float = 0.0) -> Commit:
    """Return a commit of these samples, ten in each."""
    return Commit(
        number=number, parent="", learned=10 * number, samples=[Raw(msgspec.json.encode(one)) for one in entries],
        runs=[Run(0, 10 * number - 9, len(entries))], batches=[len(entries)], shadow=[[0.0]] * len(entries),
        intercept=(intercept,), positions={}, watermark_ms=0, latest_ms=0, fingerprint="",
    )  # fmt: skip


def one_up(*inputs: Tensor) -> Tensor:
    return torch.ones(len(inputs[0]), 1)


RECORDED = [champion(0, "first", None), champion(1, "second", 1)]


def answers() -> Answers:
    made = Answers(small.pipeline, small.timing(), RECORDED, lambda _: one_up)
    made.begin(RECORDED[0], commit(0, []))
    return made


def served(start: int, version: int) -> list[Sample]:
    return [
        replace(one, prediction=replace(one.prediction, version=version, output=(0.25,), intercept=(0.125,)))
        for one in small.samples(10, start=start)
    ]


def take(of: Answers, number: int, entries: list[Sample]) -> Answered:
    return of.take(commit(number, entries), entries)


def test_where_the_version_is_the_records_the_log_stays_as_it_is() -> None:
    of, first, second = answers(), served(0, version=0), served(10, version=1)
    assert take(of, 1, first).entries() == first
    of.begin(replace(RECORDED[1], offset=(9.0,)), commit(1, first))
    assert take(of, 2, second).entries() == second


def test_a_version_that_only_the_policy_has_answers_what_was_asked_after_it() -> None:
    of, first, second = answers(), served(0, version=0), served(10, version=0)
    take(of, 1, first)
    of.begin(champion(1, "other", 1, offset=0.5), commit(1, first, intercept=0.25))
    asked = [one.prediction for one in take(of, 2, [*first, *second]).entries()]
    assert [one.version for one in asked] == [0] * 10 + [1] * 10
    assert [one.bare for one in asked[:10]] == [(0.375,)] * 10
    assert asked[10].bare == (1.75,)  # its raw output 1, the live intercept 0.25 then and its offset 0.5
    followed = Intercept(small.pipeline.task, small.pipeline.online.intercept_rate, (0.75,))
    path = followed.follow([(1.0,)] * 20, [one.label for one in [*first, *second]], [1.0] * 20)
    assert asked[12].intercept == pytest.approx(path[1])


def test_where_only_the_record_has_a_version_the_one_before_goes_on() -> None:
    of = answers()
    asked = [one.prediction for one in take(of, 1, served(0, version=1)).entries()]
    assert {one.version for one in asked} == {0}
    assert asked[0].output == (1.0,)
    assert asked[0].intercept == (0.0,)
