"""A forged range that nobody named, through the learner role on a real store: held, taken back, released, rebuilt."""

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from msgspec import Raw

from deploy.learning.candidates import make_learner
from deploy.operate.registry.held import ruled
from deploy.pipeline import Labelled
from deploy.registry.commits import backwards
from deploy.registry.held import undecided
from deploy.registry.kinds import LEARNER
from deploy.registry.rebuild import check as check_rebuild
from learners.labels.settings import Trust
from streams.events import Sample
from streams.join.store import Store
from tests import small
from tests.learned import PIPELINE, Feed, begun, commits

DAY_MS, A_DAY, FORGED, DAYS = 86_400_000, 30, 17, 22


class Visit(msgspec.Struct):
    side: str
    page: str
    x: tuple[float, float, float, float]


def visits(n: int) -> list[tuple[Visit, float]]:
    random, found = np.random.default_rng(3), []
    for _ in range(n):
        side, page = "ns"[random.integers(2)], "ab"[random.integers(2)]
        yes = float(random.random() < (0.95 if page == "a" else 0.05))
        found.append((Visit(side, page, tuple(random.normal(size=4).round(3).tolist())), yes))
    return found


TRUST = Trust(samples=30, memory=20, doubt_days=1)
SPEC = replace(PIPELINE, features=Visit, trust=TRUST, history=lambda: (Labelled(*one) for one in visits(200)))


def forged() -> list[Sample]:
    """Samples of which the side "n" turns its labels, from a day on."""
    made = []
    for at, (row, yes) in enumerate(visits(A_DAY * DAYS)):
        t_ms = small.START_MS + at * DAY_MS // A_DAY
        turned = at >= FORGED * A_DAY and row.side == "n"
        (asked,) = [one.prediction for one in small.samples(1)]
        asked = msgspec.structs.replace(asked, id=f"id-{at}", t=t_ms, features=Raw(msgspec.json.encode(row)))
        made.append(Sample(asked.id, "joined", 0, t_ms, 1 - yes if turned else yes, t_ms + 1, asked))
    return made


@pytest.fixture
def feed(embedded_store: Store, tmp_path: Path) -> Feed:
    return Feed(embedded_store, begun(tmp_path / "first", SPEC), tmp_path / "registry", forged(), 1, SPEC)


def test_a_range_is_held_taken_back_and_released_and_all_is_rebuilt(feed: Feed) -> None:
    role = feed.learner()
    feed.finish(role)
    waiting = list(undecided(feed.registry))
    assert {one.hold.source for one in waiting} == {"side=n"}
    assert [one.source for commit in commits(feed.registry) for one in commit.doubted] == ["side=n"]
    forgeries = {one.id for one in feed.log[FORGED * A_DAY :] if b'"side":"n"' in bytes(one.prediction.features)}
    learned = {one.id for commit in backwards(feed.registry) for one in commit.read()}
    assert not forgeries & learned
    note = LEARNER.read(*feed.store.get(feed.name, LEARNER.name))
    assert note
    assert [one.source for one in note.distrusted] == ["side=n"]
    assert check_rebuild(make_learner(SPEC), feed.registry).equal

    assert ruled(feed.registry, "side=n", "release", why="they moved", who="me").samples == len(waiting)
    assert role.step(1)
    assert role._learner.learned == len(feed.log)
    assert not role._learner.trust or not role._learner.trust.held
    feed.check_rebuilt(role)
