"""The learner on real stores that are killed, cut and emptied; with a rival learner; and killed itself."""

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any, cast

import msgspec
import pytest
from redis import Redis

from deploy.learning.candidates import make_learner
from deploy.learning.distiller import DistillerRole
from deploy.learning.learner import LearnerRole
from deploy.learning.rules import CommitRules
from deploy.promotion.evaluator import EvaluatorRole
from deploy.registry import learned as audit
from deploy.registry.commits import backwards
from deploy.registry.commits import read as read_commit
from deploy.registry.kinds import ASKED, COMMITS, TOLD
from deploy.registry.notes import SliceNote
from deploy.registry.rebuild import check as check_rebuild
from deploy.registry.states.kept import Kept, write
from deploy.registry.states.names import listed
from learners.commits.commit import decode, encode
from streams.errors import HistoryChanged, LostRace, StoreRefused
from streams.events import WAITING, Sample
from streams.join.store import Store
from tests import small
from tests.committed import digest, forge
from tests.learned import BAD, Fed, Feed, commits, put_back, snapshot, spoilt, until
from tests.services.redis import Server

MARKS_MS = (small.HOUR_MS // 4, small.HOUR_MS // 2)


@pytest.fixture(params=["valkey", "redis"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    """A store of the test's own."""
    server = Server(request.param, tmp_path)
    server.ready()
    yield server
    server.stop()


def cut(server: Server, most: int, random: Random) -> None:
    """SIGKILL, then take up to so many bytes from the end of its log, at any byte, and start it again."""
    server.kill()
    log = max((server.folder / "store").rglob("*.incr.aof"), key=lambda path: path.stat().st_mtime)
    size = log.stat().st_size
    os.truncate(log, max(size - random.randrange(1, most), size // 2))
    server.start()
    server.ready()
    if server.kind == "redis":  # 7.0 leaves a transaction open in a log that was cut in it, and then loses what follows
        server.redis.bgrewriteaof()
        until(
            lambda: (
                not persistence(server)["aof_rewrite_in_progress"] and not persistence(server)["aof_rewrite_scheduled"]
            )
        )


def persistence(server: Server) -> dict[str, Any]:
    persistence: dict[str, Any] = server.redis.info("persistence")
    return persistence


class TestStoreThatWentBack:
    @pytest.mark.parametrize("seed", range(3))
    def test_its_log_cut_at_any_byte_under_a_learner(self, fed: Fed, server: Server, seed: int) -> None:
        random = Random(seed)
        store = Store(server.address)
        feed = fed(small.samples(600), 2, store)
        role = feed.learner(30)
        for _ in range(6):
            for _ in range(random.randrange(1, 6)):
                feed.join(random.randrange(2), random.randrange(1, 60))
                role.step(1)
            cut(server, 30_000, random)
            if random.random() < 0.3:
                role = feed.learner(30)
            role.step(1)
        feed.finish(role)
        feed.check(role)
        feed.check_trim()
        assert sum(bool(commit.void) for commit in commits(feed.registry)) >= 2
        store.close()

    def test_the_void_is_committed_at_once_and_what_comes_again_counts_once(
        self, fed: Fed, embedded_redis: Redis, embedded_store: Store
    ) -> None:
        feed = fed(small.samples(200))
        role, distiller = feed.learner(20), DistillerRole(feed.pipeline, embedded_store, feed.registry)
        evaluator = EvaluatorRole(feed.pipeline, small.timing(1), embedded_store, feed.registry)
        then = {}
        for n in range(6):
            feed.join(most=25)
            role.step(1)
            if n == 2:
                feed.join(most=10)
                then = snapshot(embedded_redis, feed.name, 0)
        for other in (distiller, evaluator):
            while other.step(1):
                pass
        put_back(embedded_redis, then)
        role.step(1)
        newest = commits(feed.registry)[-1]
        assert (newest.void, newest.samples) == ({"0": commits(feed.registry)[3].positions["0"]}, [])
        assert newest.learned == role._learner.learned == 75
        role._states.settle()
        assert Kept(feed.registry).of(newest) is not None
        feed.finish(role)
        feed.check(role)
        for other in (distiller, evaluator):
            while other.step(1):
                pass
        totals = evaluator._evaluator.measured.totals()
        assert totals["served"].count == totals["shadow"].count == 200
        again = DistillerRole(feed.pipeline, embedded_store, feed.registry)
        again._remember_again(feed.registry.last(COMMITS))
        replays = [[sample.label for sample in one._replay] for one in (distiller, again)]
        assert len(replays[0]) == 200
        assert replays[0] == replays[1]
        assert distiller._rounds == 2  # what was taken back comes again: that counts against a sample's privacy

    def test_what_was_read_but_not_committed_needs_no_void(self, fed: Fed, embedded_redis: Redis) -> None:
        feed = fed(small.samples(60))
        role = feed.learner(20)
        feed.join(most=30)
        role.step(1)
        then = snapshot(embedded_redis, feed.name, 0)
        feed.join(most=10)
        role.step(1)
        put_back(embedded_redis, then)
        role.step(1)
        assert role._learner.learned == 30
        feed.finish(role)
        feed.check(role)
        assert not any(commit.void for commit in commits(feed.registry))

    def test_a_stream_without_any_position_is_refused(self, fed: Fed, embedded_redis: Redis) -> None:
        feed = fed(small.samples(60))
        role = feed.learner(20)
        feed.join(most=30)
        role.step(1)
        embedded_redis.delete(Store._keys(feed.name, 0)[4])
        with pytest.raises(HistoryChanged, match="no position of any commit"):
            role.step(1)
        assert feed.registry.last(COMMITS) == 1


class TestMarks:
    @pytest.mark.parametrize("shards", [1, 2])
    def test_they_are_in_the_log_and_count_as_no_samples(
        self, fed: Fed, embedded_redis: Redis, embedded_store: Store, shards: int
    ) -> None:
        feed = fed(long_before(small.samples(200)), shards)
        role, evaluator = feed.learner(20), EvaluatorRole(feed.pipeline, small.timing(1), embedded_store, feed.registry)
        feed.join(most=30)
        role.step(1)
        feed.ages_ms, feed.lag = MARKS_MS, 40
        then = {}
        for n in range(5):
            feed.join(most=25)
            role.step(1)
            if n == 1:
                feed.join(most=10)
                then = snapshot(embedded_redis, feed.name, 0)
        while evaluator.step(1):
            pass
        put_back(embedded_redis, then)
        feed.finish(role)
        feed.check(role)
        while evaluator.step(1):
            pass
        assert evaluator._evaluator.measured.totals()["served"].count == 200
        kinds = Counter(one.kind for commit in backwards(feed.registry) for one in commit.entries())
        assert kinds["joined"] == 200
        assert kinds[WAITING] == sum(state.counters["marked"] for state in feed.states)
        assert kinds[WAITING] > 200

    def test_a_lost_store_sends_those_before_the_last_commit_no_more(self, fed: Fed, embedded_redis: Redis) -> None:
        feed = fed(long_before(small.samples(120)))
        feed.ages_ms, feed.lag = MARKS_MS, 40
        role = feed.learner(20)
        for _ in range(4):
            feed.join(most=20)
            role.step(1)
        role._rules = CommitRules(1, 0.0, every_days=1e9)
        role.step(1)
        embedded_redis.delete(*Store._keys(feed.name, 0))
        feed.restore()
        until_ms = cast("bytes", embedded_redis.hget(Store._keys(feed.name, 0)[0], "marked_until"))
        newest = commits(feed.registry)[-1]
        assert int(until_ms) == newest.watermark_ms > 0
        assert {one.id for one in newest.entries() if one.kind == WAITING} - {one.id for one in newest.read()}
        role = feed.learner(20)
        feed.finish(role)
        feed.check(role)


def long_before(samples: list[Sample]) -> list[Sample]:
    """Let the outcomes come 20 hours after their predictions."""
    return [msgspec.structs.replace(one, label_t=one.t + 20 * small.HOUR_MS) for one in samples]


class TestStoreThatWasLost:
    def test_its_shards_are_made_anew_from_the_commits(self, fed: Fed, server: Server) -> None:
        store = Store(server.address)
        log = small.samples(300)
        log[7] = spoilt(log[7], BAD)
        feed = fed(log, 2, store)
        role = feed.learner(20)
        for shard in (0, 1):
            feed.join(shard, 170)
        while role.step(1):
            pass
        feed.join(0, 40)  # and these were never learned
        server.redis.flushall()
        with pytest.raises(StoreRefused, match="start the feed again") as refused:
            role.step(1)
        assert refused.value.exit_code == 5
        learned = audit.count_learned(feed.registry)
        assert sorted(feed.restore()) == [0, 1]
        assert [state.seq for state in feed.states] == [learned.shards[n] + (n == poisoned(feed)) for n in (0, 1)]
        role = feed.learner(20)
        assert role._learner.learned == learned.samples
        for shard in (0, 1):
            for _ in range(5):
                feed.join(shard, 50)
                role.step(1)
        assert sum(state.counters["prediction_duplicate"] for state in feed.states) == learned.samples + 1
        feed.finish(role)
        feed.check(role, [log[7].id])
        assert feed.restore() == {}
        store.close()

    def test_an_attempt_that_broke_off_is_repeated(self, fed: Fed, server: Server) -> None:
        store = Store(server.address)
        feed = fed(small.samples(50), 1, store)
        role = feed.learner(20)
        feed.join(most=40)
        role.step(1)
        server.redis.flushall()
        position = commits(feed.registry)[-1].positions["0"]
        store.settle(feed.name, 0, position, [(1, "a")])
        assert not store.there(feed.name, 0)
        feed.restore()
        assert store.shard(feed.name, 0).markers == 40
        role = feed.learner(20)
        feed.finish(role)
        feed.check(role)
        store.close()

    def test_one_shard_of_two(self, fed: Fed, embedded_redis: Redis) -> None:
        feed = fed(small.samples(120), 2)
        role = feed.learner(20)
        for shard in (0, 1):
            feed.join(shard, 80)
        role.step(1)
        embedded_redis.delete(*Store._keys(feed.name, 1))
        assert list(feed.restore()) == [1]
        role = feed.learner(20)
        feed.finish(role)
        feed.check(role)

    def test_nothing_learned_means_nothing_to_restore(self, fed: Fed, embedded_redis: Redis) -> None:
        feed = fed(small.samples(30))
        feed.join(most=10)
        embedded_redis.delete(*Store._keys(feed.name, 0))
        assert feed.restore() == {}
        role = feed.learner(20)
        feed.finish(role)
        feed.check(role)


def poisoned(feed: Feed) -> int:
    return audit.count_learned(feed.registry).quarantined[0].shard


class TestRivals:
    def test_the_old_learner_that_wakes_up_loses_and_each_commit_has_one_successor(self, fed: Fed) -> None:
        feed = fed(small.samples(200))
        old = feed.learner(50)
        feed.join(most=30)
        old.step(1)  # it has read, and not committed, when it is stopped
        new = feed.learner(20)
        for _ in range(3):
            feed.join(most=30)
            new.step(1)
        before = [feed.registry.read(COMMITS, n) for n in range(feed.registry.last(COMMITS) + 1)]
        feed.join(most=30)
        with pytest.raises(LostRace):
            old.step(1)
        assert [feed.registry.read(COMMITS, n) for n in range(feed.registry.last(COMMITS) + 1)] == before
        again = feed.learner(20)
        feed.finish(again)
        feed.check(again)
        feed.check_parents()

    def test_a_learner_stopped_between_its_commit_and_its_trim_trims_nothing_of_the_others(self, fed: Fed) -> None:
        feed = fed(small.samples(100))
        old = feed.learner(10)
        trimming: list[Callable[[], None]] = []

        class Stopped(Store):
            def trim(self, feed: str, shard: int, upto: str) -> None:
                trimming.append(lambda: Store.trim(self, feed, shard, upto))

        old._store.__class__, kind = Stopped, old._store.__class__
        feed.join(most=20)
        old.step(1)
        old._store.__class__ = kind
        assert feed.states[0].unread == 20
        new = feed.learner(10)
        assert feed.states[0].unread == 0
        feed.join(most=40)
        new.step(1)
        trimming[0]()
        feed.check_trim()
        with pytest.raises(LostRace):
            old.step(1)
        feed.finish(new)
        feed.check(new)


def test_a_history_that_does_not_make_its_state_is_found(fed: Fed, caplog: pytest.LogCaptureFixture) -> None:
    feed = fed(small.samples(60))
    role = LearnerRole(
        feed.name, 1, feed.store, feed.registry, make_learner(feed.pipeline), CommitRules(20, 1e9, every_days=1)
    )
    feed.join(most=30)
    role.step(1)
    feed.join()
    role.step(1)
    role._states.settle()
    (name,) = listed(feed.registry.objects)
    assert name.number == 2
    assert check_rebuild(make_learner(feed.pipeline), feed.registry).equal
    first = read_commit(feed.registry, 1)
    other = msgspec.structs.replace(first, batches=[len(first.samples)])
    state, forged = feed.state(2), forge(feed.registry, other)
    assert Kept(forged).of(read_commit(forged, 2)) is None, "the state is of another commit 2"
    assert "is of another commit 2 than the one that is there" in caplog.text
    write(forged, name._replace(chain=digest(forged.read(COMMITS, 2))), state)
    rebuilt = check_rebuild(make_learner(feed.pipeline), forged)
    assert (rebuilt.equal, rebuilt.first, rebuilt.last, rebuilt.learned) == (False, 0, 2, 60)


def test_killed_at_any_moment(fed: Fed, embedded_store_url: str) -> None:
    feed, random = fed(small.samples(400), 2), Random(5)
    for n in range(5):
        process = feed.process(embedded_store_url)
        until(lambda: feed.store.get(feed.name, "learner") != [None])
        before = feed.registry.last(COMMITS)
        feed.join(n % 2, 60)
        until(lambda n=before: feed.registry.last(COMMITS) > n)  # type: ignore[misc]  # no commit sees three deaths
        for _ in range(3):
            feed.join(n % 2, 30)
            time.sleep(random.uniform(0, 0.3))
        process.kill()
        process.join()
    role = feed.learner()
    feed.finish(role)
    feed.check(role)
    feed.check_refreshed(role)


def apart(samples: list[Sample], ms: int = 60_000) -> list[Sample]:
    """Let samples follow each other so far apart; minutes: all are of one day, as a commit ends with its day."""
    moved = [(one, small.START_MS + n * ms) for n, one in enumerate(samples)]
    replace = msgspec.structs.replace
    return [replace(one, t=t_ms, label_t=t_ms + 1, prediction=replace(one.prediction, t=t_ms)) for one, t_ms in moved]


@pytest.mark.parametrize("ms", [60_000, 3 * small.HOUR_MS], ids=["of one day", "over days"])
def test_in_a_replay_a_commit_waits_until_all_outcomes_of_its_slice_are_joined(fed: Fed, ms: int) -> None:
    feed = fed(apart(small.samples(40), ms))
    role = feed.learner(1_000)
    role._rules = CommitRules(1_000, 0.0, every_days=1e9)

    def learned() -> int:
        while role.step(1):
            pass
        for _ in range(3):
            role.step(1)
        return commits(feed.registry)[-1].learned

    feed.join(most=10)
    assert learned() == 10, "no replay says anything"
    feed.store.put(feed.name, ASKED.entry(SliceNote(1, {})))
    feed.join(most=10)
    assert learned() == 10, "the slice is asked, and not told"
    feed.store.put(feed.name, TOLD.entry(SliceNote(1, {"o:0": 30})))
    assert learned() == 10, "ten of its outcomes are not joined"
    feed.join(most=10)
    assert learned() == 30
    feed.store.put(feed.name, ASKED.entry(SliceNote(2, {})))
    feed.join(most=10)
    assert learned() == 30, "what was told is of the slice before"
    feed.store.put(feed.name, TOLD.entry(SliceNote(2, {"o:0": 40})))
    assert learned() == 40


def test_a_commit_says_between_which_offsets_all_lies_that_was_learned(fed: Fed) -> None:
    feed = fed(small.samples(60), 2)
    role = feed.learner(1_000)
    role._rules = CommitRules(1, 1e9, every_days=1e9)
    assert read_commit(feed.registry, 0).offsets == {}
    feed.join(0, 30)
    feed.join(1, 20)
    assert role.step(1)
    assert not role.step(1)
    first = commits(feed.registry)[-1]
    assert first.offsets == {"p:0": (0, 30), "o:0": (0, 30)}, "of the shard that has read the most"
    assert {one.id for one in first.entries()} <= {one.id for one in feed.log[:30]}
    feed.finish(role)
    assert commits(feed.registry)[-1].offsets == {"p:0": (0, 60), "o:0": (0, 60)}
    older = msgspec.json.decode(encode(first))
    del older["offsets"]
    assert decode(msgspec.json.encode(older)).offsets == {}
