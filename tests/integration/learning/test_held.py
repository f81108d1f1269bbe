"""A forging source through the learner role on a real store: held in commits, released or dropped by a person."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
import torch

from deploy.cli import main as cli
from deploy.learning.candidates import make_learner
from deploy.learning.rules import CommitRules
from deploy.operate.registry.held import ruled
from deploy.registry import learned as audit
from deploy.registry.commits import backwards, taken_back
from deploy.registry.held import undecided
from deploy.registry.kinds import LEARNER, RULINGS
from deploy.registry.rebuild import check as check_rebuild
from learners.commits.forget import without
from learners.labels.holds import Hold, Said
from learners.labels.settings import Trust
from learners.labels.trust import RATE
from learners.online.learner import Learner
from streams.errors import ConfigError, LostRace
from streams.events import Sample
from streams.join.store import Store
from tests import small
from tests.learned import NEVER, PIPELINE, Feed, begun, commits


def side(point: small.Point) -> str:
    """Return the source of a sample."""
    return "north" if point.x[3] > 0 else "south"


TRUST = Trust(source=side, samples=30, memory=30, limit=0.5, hold_days=1_000, doubt_days=0)
TRUSTING = replace(PIPELINE, trust=TRUST)


def is_north(sample: Sample) -> bool:
    return bool(msgspec.json.decode(sample.prediction.features)["x"][3] > 0)


def forged(n: int = 400, since: int = 200) -> list[Sample]:
    """Samples whose answers are right; from one on, the north turns its labels."""
    made = []
    for at, one in enumerate(small.samples(n)):
        x = msgspec.json.decode(one.prediction.features)["x"]
        said = msgspec.structs.replace(one.prediction, output=(2 * x[0] - 2 * x[1],))
        label = 1 - one.label if at >= since and is_north(one) else one.label  # type: ignore[operator]
        made.append(msgspec.structs.replace(one, prediction=said, label=label))
    return made


@pytest.fixture(scope="module")
def first_trusting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return begun(tmp_path_factory.mktemp("trusting") / "first", TRUSTING)


@pytest.fixture
def feed(embedded_store: Store, first_trusting: Path, tmp_path: Path) -> Feed:
    return Feed(embedded_store, first_trusting, tmp_path / "registry", forged(), 2, TRUSTING)


def settle(feed: Feed, source: str, said: Said, why: str = "asked them") -> int:
    return ruled(feed.registry, source, said, why=why, who="me").samples


def checked(feed: Feed, learner: Learner) -> audit.Learned:
    """Check that all is there once, and that the commits make the state."""
    counted = audit.count_learned(feed.registry)
    assert counted.doubled == 0
    assert all(one.holds for one in audit.learned_equations(feed.states, counted))
    assert check_rebuild(make_learner(feed.pipeline), feed.registry).equal
    assert sum(counted.shards.values()) - sum(counted.held.values()) == learner.learned
    return counted


def test_what_is_held_is_learned_by_nobody_until_it_is_released(feed: Feed) -> None:
    role = feed.learner()
    feed.finish(role)
    waiting = [one.hold.source for one in undecided(feed.registry)]
    assert set(waiting) == {"north"}
    assert len(waiting) > 50
    assert sum(checked(feed, role._learner).held.values()) == len(waiting)
    read = [one for commit in backwards(feed.registry) for one in commit.read()]
    assert len(read) == role._learner.learned == 400 - len(waiting)
    assert not {msgspec.json.decode(one.sample)["id"] for one in undecided(feed.registry)} & {one.id for one in read}

    assert settle(feed, "north", "release") == len(waiting)
    assert role.step(1)
    assert not list(undecided(feed.registry))
    assert sum(checked(feed, role._learner).held.values()) == 0
    newest = commits(feed.registry)[-1]
    assert (newest.released, newest.ruled, newest.rulings[0].why) == (len(waiting), 1, "asked them")
    assert role._learner.learned == 400
    assert sorted(one.id for commit in backwards(feed.registry) for one in commit.read()) == sorted(
        one.id for one in feed.log
    )
    feed.check(feed.learner())


def test_what_was_learned_in_doubt_is_taken_back_and_held_with_the_rest(feed: Feed) -> None:
    role = feed.learner()
    feed.finish(role)
    (newest,) = [one for one in commits(feed.registry) if one.doubted]
    assert [one.source for one in newest.doubted] == ["north"]
    back = taken_back(feed.registry, newest)
    assert len(back) == sum(run.count for run in newest.doubted[0].runs) > 10
    assert all(map(is_north, back))
    turned = {one.id for one in feed.log[200:] if is_north(one)}
    assert len(turned & {one.id for one in back}) > 10
    assert not turned & {one.id for commit in backwards(feed.registry) for one in commit.read()}
    rest = [one for commit in backwards(feed.registry) for one in reversed(commit.read())][::-1]
    honest = make_learner(feed.pipeline)
    honest.load(feed.state(0))
    honest.learn(rest)
    assert honest.learned == role._learner.learned == len(rest)
    for name, value in honest.teacher.model.state_dict().items():
        assert torch.allclose(value, role._learner.teacher.model.state_dict()[name], atol=1e-5), name
    feed.check_rebuilt(role)


def test_a_learner_that_died_before_it_took_back_does_so_when_it_begins_again(feed: Feed) -> None:
    role = feed.learner()
    role._rules = CommitRules(1, NEVER, NEVER)
    for shard in range(feed.policy.shards):
        feed.join(shard)
    assert role._learner.trust
    while not role._learner.trust.doubts:
        assert role.step(1)
    again = feed.learner()
    assert again._learner.trust
    assert again._learner.trust.doubts == role._learner.trust.doubts
    feed.finish(again)
    assert [len(one.doubted) for one in commits(feed.registry) if one.doubted] == [1]
    checked(feed, again._learner)
    with pytest.raises(LostRace):
        feed.finish(role)


def test_what_is_dropped_stays_unlearned_and_so_does_what_comes_later(feed: Feed) -> None:
    role, log = feed.learner(), feed.log
    feed.log = log[:350]
    feed.finish(role)
    assert settle(feed, "north", "drop") > 20
    assert role.step(1)
    assert not list(undecided(feed.registry))
    feed.log = log
    feed.finish(role)
    assert len(list(undecided(feed.registry))) == sum(map(is_north, log[350:]))
    checked(feed, role._learner)


def test_only_a_source_that_is_held_can_be_ruled_on_and_with_a_reason(feed: Feed) -> None:
    feed.finish(feed.learner())
    with pytest.raises(ConfigError, match="no samples of 'south' are held; held are 'north'"):
        settle(feed, "south", "release")
    with pytest.raises(ConfigError, match="needs a reason"):
        settle(feed, "north", "release", " ")
    assert feed.registry.last(RULINGS) == -1


def test_a_released_sample_is_forgotten_and_void_like_any_other(feed: Feed) -> None:
    role = feed.learner()
    feed.finish(role)
    settle(feed, "north", "release")
    role.step(1)
    newest = commits(feed.registry)[-1]
    gone = newest.read()[0].id
    rest = without(newest, {gone})
    assert (rest.released, len(rest.read())) == (newest.released - 1, len(newest.read()) - 1)
    holding = next(one for one in commits(feed.registry) if one.held)
    first = holding.entries()[0].id
    assert [hold.at for hold in without(holding, {first}).held] == [hold.at - 1 for hold in holding.held if hold.at]


def test_samples_that_cannot_be_learned_at_their_release_stay_held(
    feed: Feed, caplog: pytest.LogCaptureFixture
) -> None:
    role = feed.learner()
    feed.finish(role)
    ids = {msgspec.json.decode(one.sample)["id"] for one in undecided(feed.registry)}
    settle(feed, "north", "release")
    learner = role._learner
    healthy = learner.learn

    def broken(entries: Sequence[Sample], held: Sequence[Hold] = ()) -> torch.Tensor:
        if not held and {one.id for one in entries} & ids:
            raise ValueError("the devil")
        return healthy(entries, held)

    learner.learn = broken  # type: ignore[method-assign]
    assert role.step(1)
    assert "stays held: ValueError: the devil" in caplog.text
    assert len(list(undecided(feed.registry))) == len(ids)
    assert commits(feed.registry)[-1].ruled == 1


def test_people_rule_by_the_command_line_while_the_feed_is_learned(
    feed: Feed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "all").mkdir()
    (tmp_path / "all" / feed.name).symlink_to(tmp_path / "registry")
    (tmp_path / "pipeline.py").write_text(
        "from dataclasses import replace\nfrom tests.integration.learning.test_held import TRUSTING\n"
        f"pipeline = replace(TRUSTING, name={feed.name!r})\n"
    )
    (tmp_path / "shadowstream.toml").write_text("[registry]\npath = 'all'\n")
    monkeypatch.chdir(tmp_path)

    def command(*arguments: str) -> str:
        monkeypatch.setattr("sys.argv", ["shadowstream", arguments[0], "pipeline.py", *arguments[1:]])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert not ended.value.code
        return capsys.readouterr().out

    def noted() -> list[tuple[str, bool]]:
        note = LEARNER.read(*feed.store.get(feed.name, LEARNER.name))
        assert note
        return [(one.source, one.until_ms is None) for one in note.distrusted]

    role, log = feed.learner(), feed.log
    assert json.loads(command("held", "--json")) == {"waiting": [], "rulings": []}
    feed.log = log[:350]
    feed.finish(role)
    assert noted() == [("north", False)]
    (waits,) = json.loads(command("held", "--json"))["waiting"]
    assert (waits["source"], waits["samples"]) == ("north", len(list(undecided(feed.registry))))
    command("drop", "north", "--why", "a forger", "--who", "ann", "--yes")
    assert role.step(1)
    assert noted() == [("north", True)]
    listing = json.loads(command("held", "--json"))
    assert not listing["waiting"]
    assert [(one["said"], one["who"], one["why"]) for one in listing["rulings"]] == [("drop", "ann", "a forger")]
    feed.log = log
    feed.finish(role)
    command("release", "north", "--why", "their own mistake", "--yes")
    assert role.step(1)
    assert noted() == []
    checked(feed, role._learner)


def test_what_is_more_than_the_rate_is_held_and_a_rebuild_counts_alike(
    embedded_store: Store, first_trusting: Path, tmp_path: Path
) -> None:
    rated = replace(PIPELINE, trust=Trust(source=side, most_per_hour=10))
    at_once = [msgspec.structs.replace(one, label_t=small.START_MS + 400 * small.HOUR_MS) for one in forged(since=400)]
    feed = Feed(embedded_store, first_trusting, tmp_path / "registry", at_once, 1, rated)
    role = feed.learner()
    feed.finish(role)
    held = list(undecided(feed.registry))
    assert {one.hold.why for one in held} == {RATE}
    assert checked(feed, role._learner).samples - len(held) == 2 * 10
