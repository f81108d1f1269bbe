"""What the learner offers as syncs, on a real store: the average of its commit, bit for bit, if it is sound."""

from dataclasses import replace
from itertools import pairwise

import msgspec
import pytest
import torch

from compressors.answers import answers
from compressors.artifact import format as artifact
from deploy.learning.candidates import average, make_learner
from deploy.learning.learner import LearnerRole
from deploy.learning.rules import CommitRules
from deploy.learning.syncs import LEAST, Syncs
from deploy.registry.kinds import ASKED, BLOBS, CHAMPIONS, COMMITS, FRESHNESS, SYNC
from deploy.registry.notes import SliceNote, SyncNote
from deploy.registry.rebuild import rebuild
from deploy.registry.records import Champion
from deploy.registry.reigns import SYNCS
from deploy.serving.fresh import Fresh
from learners.evaluation.gate import Promotion
from streams.events import Sample
from tests import small
from tests.learned import NEVER, Fed, Feed

A_COMMIT = 20


class Offering:
    """A learner that offers an average after each commit."""

    def __init__(self, feed: Feed, sync_s: float = 1e-3, commit_s: float = NEVER) -> None:
        self.feed, self.now_s, self._commit_s = feed, 0.0, commit_s
        self.pipeline = replace(feed.pipeline, promotion=Promotion(policy="continuous", sync_s=sync_s))
        self.begin()

    def begin(self) -> None:
        registry, learner = self.feed.registry, make_learner(self.pipeline)
        rules = CommitRules(A_COMMIT, self._commit_s, NEVER)
        syncs = Syncs(self.pipeline, registry, learner, lambda: self.now_s)
        self.role = LearnerRole(self.feed.name, 1, self.feed.store, registry, learner, rules, syncs=syncs)

    def learn(self) -> SyncNote | None:
        """Learn a commit; return what is on the board then."""
        self.feed.join(most=A_COMMIT)
        self.role.step(1)
        return SYNC.read(*self.feed.store.get(self.feed.name, SYNC.name))


@pytest.fixture
def samples() -> list[Sample]:
    return small.samples(240)


def test_each_is_the_average_of_its_commit_and_made_again_bit_for_bit(fed: Fed, samples: list[Sample]) -> None:
    """So what each of them has answered can be computed again, long after its artifact has gone."""
    offering, rows = Offering(fed(samples)), small.encode([small.Point((0.5, -1.0, 0.0, 2.0))])
    registry, found, said = offering.feed.registry, dict[int, SyncNote](), dict[int, torch.Tensor]()
    for n in range(1, len(samples) // A_COMMIT + 1):
        if n == 6:
            offering.begin()  # what it offers follows from the log, not from what a process has seen
        if note := offering.learn():
            found[note.commit] = note
            said[note.commit] = answers(artifact.load(registry.get(note.artifact), small.net), list(rows))
    assert sorted(found) == list(range(-(-LEAST // A_COMMIT), registry.last(COMMITS) + 1))
    for commit, note in found.items():
        learner = make_learner(offering.pipeline)
        rebuild(learner, registry, commit)
        made = average(offering.pipeline, learner)
        assert registry.put(made) == note.artifact
        assert torch.equal(answers(artifact.load(made, small.net), list(rows)), said[commit])
    assert len({note.artifact for note in found.values()}) == len(found)


def test_few_artifacts_stay_and_outcomes_are_known_to_the_first_that_has_learned_them(
    fed: Fed, samples: list[Sample]
) -> None:
    offering = Offering(fed(samples))
    notes = [note for _ in range(len(samples) // A_COMMIT) if (note := offering.learn())]
    registry = offering.feed.registry
    assert [registry.has(note.artifact) for note in notes] == [False] * (len(notes) - SYNCS) + [True] * SYNCS
    assert len(list(registry.objects.list(BLOBS))) < SYNCS + 6
    fresh = Fresh(offering.feed.name, offering.feed.store, notes[0].commit)
    counts = [
        msgspec.json.decode(fresh.written([], note.commit)[FRESHNESS.name])["weights"]["count"] for note in notes[1:]
    ]
    assert [later - earlier for earlier, later in pairwise([0, *counts])] == [A_COMMIT] * (len(notes) - 1)


def test_a_feed_that_falls_silent_has_its_last_samples_served(fed: Fed, samples: list[Sample]) -> None:
    """No watermark makes a sync due then: one comes of the time without events, once, and is that of its commit."""
    offering = Offering(fed(samples), sync_s=NEVER)
    registry = offering.feed.registry
    assert not any(offering.learn() for _ in range(len(samples) // A_COMMIT))
    last = registry.last(COMMITS)
    for now_s in (0.0, NEVER / 2, NEVER, 2 * NEVER, 4 * NEVER):
        offering.now_s = now_s
        offering.role.step(1)
        note = SYNC.read(*offering.feed.store.get(offering.feed.name, SYNC.name))
        assert (note is not None) == (now_s >= NEVER)
        if note:
            assert registry.has(note.artifact) == (now_s == NEVER)  # it is made once
            registry.drop(note.artifact)
    assert note is not None
    learner = make_learner(offering.pipeline)
    rebuild(learner, registry, last)
    assert (note.commit, note.artifact) == (last, registry.put(average(offering.pipeline, learner)))
    fresh = Fresh(offering.feed.name, offering.feed.store, 0)
    weights = msgspec.json.decode(fresh.written([], last)[FRESHNESS.name])["weights"]
    assert weights["count"] == len(samples)
    assert (registry.last(COMMITS), offering.role._synced) == (last, last)


@pytest.mark.parametrize(("commit_s", "synced"), [(0.0, False), (NEVER, True)], ids=["a replay", "live, after one"])
def test_a_replay_s_time_is_its_feed_s_alone(fed: Fed, samples: list[Sample], commit_s: float, synced: bool) -> None:
    offering = Offering(fed(samples), sync_s=NEVER, commit_s=commit_s)
    offering.feed.store.put(offering.feed.name, ASKED.entry(SliceNote(0, {})))
    for _ in range(len(samples) // A_COMMIT):
        offering.learn()
    for now_s in (0.0, NEVER):
        offering.now_s = now_s
        offering.role.step(1)
    assert (SYNC.read(*offering.feed.store.get(offering.feed.name, SYNC.name)) is not None) == synced


def test_a_broken_average_is_not_offered(fed: Fed, samples: list[Sample], caplog: pytest.LogCaptureFixture) -> None:
    served = [msgspec.structs.replace(one.prediction, output=(float(n % 3),)) for n, one in enumerate(samples)]
    log = [msgspec.structs.replace(one, prediction=said) for one, said in zip(samples, served, strict=True)]
    offering = Offering(fed(log))
    for _ in range(6):
        before = offering.learn()
    for broken, said in ((0.0, "outputs spread 0 times as far"), (float("nan"), "not finite")):
        with torch.no_grad():
            for weight in offering.role._learner.shadow.mean.parameters():
                weight.fill_(broken)
        offering.role._syncs.make(6)  # type: ignore[union-attr]
        assert said in caplog.text
    assert before == SYNC.read(*offering.feed.store.get(offering.feed.name, SYNC.name))


def test_nothing_is_offered_in_the_place_of_what_came_back_or_is_of_another_recipe(
    fed: Fed, samples: list[Sample]
) -> None:
    """A person may put a version in between, whose place the next takes."""
    offering = Offering(fed(samples))
    registry = offering.feed.registry
    first = registry.record(CHAMPIONS, 0)
    assert isinstance(first, Champion)
    for _ in range(6):
        before = offering.learn()
    assert before is not None
    registry.create(CHAMPIONS, 1, msgspec.structs.replace(first, number=1, back_to=0, commit=3))
    assert offering.learn() == before
    registry.create(CHAMPIONS, 2, msgspec.structs.replace(first, number=2, commit=4))
    note = offering.learn()
    assert note is not None
    assert (note.of, note.commit) == (2, before.commit + 2)
    offering.pipeline = replace(offering.pipeline, recipe=small.pipeline.recipe)
    other = Syncs(offering.pipeline, registry, offering.role._learner)
    other.begin(registry.last(COMMITS))
    assert other.make(registry.last(COMMITS)) is None
