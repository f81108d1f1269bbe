"""Logs of earlier releases, in which a candidate was due of marks alone: nobody makes one, and nobody waits for it."""

import secrets

import pytest

from deploy.learning.distiller import DistillerRole
from deploy.learning.rules import CommitRules
from deploy.promotion.evaluator import EvaluatorRole
from deploy.registry.kinds import CANDIDATES, COMMITS
from learners.commits.commit import Due
from learners.commits.draft import Draft
from learners.online.gap import Gap
from streams.join.step import Move, Rules, Step
from streams.join.store import Store
from tests import small
from tests.integration.learning.test_learner import MARKS_MS, long_before
from tests.learned import Fed, Feed, commits


def pass_time(feed: Feed, asked: int) -> None:
    """Let the watermark come to the newest prediction, by an outcome that another shard keeps."""
    at, t_ms = feed.states[0].partitions["o:0"].next, feed.log[asked - 1].t
    move = Move("o:0", at, at + 1, t_ms=t_ms, outcomes=1, recent=[t_ms])
    rules = Rules.of(feed.policy).marking(feed.ages_ms)
    feed.store.step(feed.name, 0, Step(secrets.token_hex(8), rules, arrived_ms=0, moves=[move]))


def test_a_candidate_that_was_due_of_marks_alone_is_passed_over(
    fed: Fed, embedded_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = fed(long_before(small.samples(200)))
    feed.ages_ms, feed.lag = MARKS_MS, 200  # no outcome comes
    role = feed.learner()
    role._rules = CommitRules(1, 0.0, every_days=1)

    def due(_: CommitRules, draft: Draft, __: Gap | None = None) -> Due:
        return Due("schedule", draft.watermark_ms)

    with monkeypatch.context() as earlier:
        earlier.setattr(CommitRules, "due", due)
        for n in range(20, 201, 20):
            feed.join(most=20)
            pass_time(feed, n)
            while role.step(1):
                pass
    newest = commits(feed.registry)[-1]
    assert (newest.learned, newest.due is not None) == (0, True)
    distiller = DistillerRole(feed.pipeline, embedded_store, feed.registry)
    evaluator = EvaluatorRole(feed.pipeline, small.timing(1), embedded_store, feed.registry, engines=False)
    while distiller.step(0) or evaluator.step(0):
        pass
    assert feed.registry.last(CANDIDATES) == -1
    assert distiller._commit == evaluator._commit == feed.registry.last(COMMITS)
    assert not evaluator._awaits
