"""A learner whose commits are sealed while it learns: the same history, wherever its commits are."""

import pytest

from deploy.registry.kinds import COMMITS
from deploy.registry.log.sealer import Sealer
from deploy.registry.log.segments import old_name, tail_name
from deploy.registry.storage import Disk
from streams.errors import LostRace
from tests import small
from tests.learned import Fed, Feed


def seal(feed: Feed) -> list[str]:
    """Seal all commits but the newest, and return the numbers of those that have a file."""
    sealer = Sealer(Disk(feed.registry.folder), commits=1)
    while sealer.step():
        pass
    return Disk(feed.registry.folder).list("tail")


def as_an_earlier_release_kept_it(feed: Feed) -> None:
    for n in range(feed.registry.last(COMMITS) + 1):
        path = feed.registry.folder / old_name(n)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(feed.registry.read(COMMITS, n) or b"")
        (feed.registry.folder / tail_name(n)).unlink()


def test_a_feed_of_an_earlier_release_goes_on_and_is_sealed_while_it_learns(fed: Fed) -> None:
    feed = fed(small.samples(200), 2)
    feed.join(0, 60)
    feed.join(1, 60)
    feed.learner(7).step(1)
    as_an_earlier_release_kept_it(feed)
    role = feed.learner(7)
    for n in range(6):
        feed.join(n % 2, 40)
        role.step(1)
        assert len(seal(feed)) <= 1
        role = feed.learner(7) if n == 3 else role  # which starts from what is sealed
    feed.finish(role)
    assert seal(feed) == [tail_name(feed.registry.last(COMMITS))]
    assert not Disk(feed.registry.folder).list("commits")
    feed.check(role)
    feed.check_parents()
    feed.check(feed.learner(7))


def test_a_learner_that_was_held_up_while_its_number_was_sealed_trims_nothing(fed: Fed) -> None:
    feed = fed(small.samples(120))
    feed.join(most=20)
    old, new = feed.learner(10), feed.learner(10)
    for _ in range(3):
        new.step(1)
        feed.join(most=20)
    seal(feed)
    kept = feed.states[0].unread
    assert not (feed.registry.folder / tail_name(1)).exists()
    with pytest.raises(LostRace):
        old._commit(None)
    assert feed.states[0].unread == kept
    feed.check_trim()
    feed.finish(new)
    feed.check(new)
