"""Samples that cannot be learned: counted, set aside at the third failure, and the rest is learned."""

import time
from typing import Any

import pytest
from torch import Tensor

from deploy.learning.attempts import THIRD
from deploy.learning.learner import DIED
from deploy.registry import learned as audit
from deploy.registry.kinds import COMMITS
from learners.online.learner import Learner
from tests import small
from tests.learned import BAD, DEADLY, LARGE, Fed, commits, spoilt


class TestPoison:
    @pytest.mark.parametrize(("x", "reason"), [(BAD, "ValueError: the devil"), (LARGE, "NotFinite: the loss is nan")])
    def test_at_the_third_failure_it_is_quarantined_and_the_rest_is_learned(
        self, fed: Fed, x: float, reason: str
    ) -> None:
        log = small.samples(100)
        log[25] = spoilt(log[25], x)
        feed = fed(log)
        role = feed.learner(1_000)
        feed.join()
        for failures in range(1, THIRD + 1):
            assert role.step(1)
            assert (role._learner.learned, role._attempts._now.failures) == (0, failures)
        assert feed.registry.last(COMMITS) == 0
        role.step(1)
        newest = commits(feed.registry)[-1]
        assert [(one.position.split("-")[0], one.reason[: len(reason)]) for one in newest.quarantined] == [
            ("26", reason)
        ]
        assert newest.batches[:16] == [16, *[1] * 15]  # the 16 of its micro-batch alone
        assert len(newest.batches) < 25
        feed.finish(role)
        feed.check(role, [log[25].id])
        feed.log += small.samples(40, start=100)
        feed.join()
        role.step(1)
        role.step(1)
        assert sum(sum(one.batches) for one in commits(feed.registry)[-3:]) == 40  # one for each micro-batch

    def test_several_in_different_micro_batches_and_only_those(self, fed: Fed) -> None:
        log = small.samples(200)
        for n in (3, 4, 90, 150):
            log[n] = spoilt(log[n], BAD)
        feed = fed(log)
        role = feed.learner(1_000)
        feed.join()
        while role.step(1):
            pass
        feed.finish(role)
        feed.check(role, [log[n].id for n in (3, 4, 90, 150)])

    def test_a_failure_that_passes_costs_no_sample(self, fed: Fed, monkeypatch: pytest.MonkeyPatch) -> None:
        feed = fed(small.samples(50))
        role, learn, failures = feed.learner(20), Learner.learn, [2]

        def sometimes(self: Learner, *given: Any) -> Tensor:
            if failures[0]:
                failures[0] -= 1
                raise MemoryError("not now")
            return learn(self, *given)

        monkeypatch.setattr(Learner, "learn", sometimes)
        feed.join()
        while role.step(1):
            pass
        monkeypatch.undo()
        feed.finish(role)
        feed.check(role)

    def test_a_sample_that_kills_the_process(self, fed: Fed, embedded_store_url: str) -> None:
        log = small.samples(80)
        log[33] = spoilt(log[33], DEADLY)
        feed = fed(log)
        feed.join()
        deaths = 0
        while not any(commit.quarantined for commit in commits(feed.registry)):
            process = feed.process(embedded_store_url)
            while process.is_alive() and not any(commit.quarantined for commit in commits(feed.registry)):
                time.sleep(0.05)
            deaths += not process.is_alive()
            process.kill()
            process.join()
            assert deaths <= THIRD + 1
        assert deaths == THIRD + 1
        role = feed.learner()
        feed.finish(role)
        feed.check(role, [log[33].id])
        assert audit.count_learned(feed.registry).quarantined[0].reason == DIED
