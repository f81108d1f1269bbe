"""A version made again from its commits: the same bits; without some events, those of a log that never had them."""

import json
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import Raw
from redis import Redis
from rich.console import Console
from typer.testing import CliRunner

from deploy import config
from deploy.cli.commands import app
from deploy.console.versions.changes import show_plan
from deploy.learning.bootstrap import bootstrap
from deploy.learning.candidates import make_learner
from deploy.learning.distiller import DistillerRole
from deploy.operate.plan import planned
from deploy.operate.registry.sign import opened
from deploy.operate.versions import lineage
from deploy.operate.versions.forget import forget
from deploy.operate.versions.receipts import check
from deploy.operate.versions.versions import remake
from deploy.registry.kinds import CANDIDATES, CHAMPIONS, COMMITS
from deploy.registry.log import frames
from deploy.registry.opening import sign
from deploy.registry.rebuild import rebuild
from deploy.registry.receipts import digests
from deploy.registry.records import Champion
from deploy.registry.registry import Registry
from deploy.registry.states import kept as states
from deploy.registry.states.beside import States
from deploy.registry.states.names import listed
from learners.commits.state import pack_state
from streams.dead import DeadLetters, Letter
from streams.errors import ConfigError, Disagreement, RegistryError
from streams.events import Record, Sample, encode
from streams.join.store import Store
from streams.kafka import Sink, Tp, ensure_topics
from tests import small
from tests.committed import forge
from tests.conftest import Running
from tests.learned import PIPELINE, Feed, commits, put_back, snapshot

DAY = small.START_MS // (24 * small.HOUR_MS)
FILE = """
from dataclasses import replace
from tests.learned import PIPELINE
from deploy.registry.log import frames
from tests.committed import forge
pipeline = replace(PIPELINE, name={name!r})
"""
PARTS = count()


class Grown:
    """A feed that was learned, with a version of each candidate; `path` is its pipeline.py."""

    def __init__(
        self,
        store: Store,
        first: Path,
        folder: Path,
        log: list[Sample],
        *,
        part: int,
        every_days: float,
        name: str = "",
        redis: Redis | None = None,
    ) -> None:
        """Join and learn `part` samples at a time; a candidate is due every `every_days`.

        With `redis` the store goes back in time once, by three steps.
        """
        folder = folder / f"grown{next(PARTS)}"
        folder.mkdir()
        self.feed = Feed(store, first, folder / "registry", log)
        role = self.feed.learner(20, every_days=every_days)
        steps, then = count(), dict[str, bytes | None]()
        while self.feed.states[0].partitions["p:0"].next < len(log):
            self.feed.join(most=part)
            role.step(1)
            if redis and (step := next(steps)) == 3:
                then = snapshot(redis, self.feed.name, 0)
            elif redis and step == 6:
                put_back(redis, then)
        self.name, self.registry = name or self.feed.name, self.feed.registry
        distiller = DistillerRole(replace(self.feed.pipeline, name=self.name), store, self.registry)
        while distiller.step(0):
            pass
        for made in self.registry.records(CANDIDATES):
            assert made.refused is None
            champion = Champion(
                number=made.number + 1, artifact=made.artifact, candidate=made.number, offset=(0.0,), at_ms=0,
                learned=made.learned, evidence="a test",
            )  # fmt: skip
            self.registry.create(CHAMPIONS, champion.number, champion)
        (folder / self.name).symlink_to(self.registry.folder)
        self.path = folder / "pipeline.py"
        self.path.write_text(FILE.format(name=self.name))
        self.settings = msgspec.structs.replace(config.Settings(), registry=config.Registry(path=str(folder)))

    def version(self, number: int) -> Champion:
        champion = self.registry.record(CHAMPIONS, number)
        assert champion is not None
        return champion


Grow = Callable[..., Grown]


@pytest.fixture(scope="module")
def grow(embedded_store: Store, first: Path, tmp_path_factory: pytest.TempPathFactory) -> Grow:
    folder = tmp_path_factory.mktemp("grown")

    def grown(log: list[Sample], **how: Any) -> Grown:
        return Grown(embedded_store, first, folder, log, **how)

    return grown


@pytest.fixture(scope="module")
def grown(grow: Grow) -> Grown:
    """Five days of samples, and versions 0 to 2."""
    return grow(small.samples(120), part=7, every_days=2)


@pytest.mark.parametrize("full", [False, True])
def test_a_version_made_again_has_the_same_bits(grown: Grown, full: bool, tmp_path: Path) -> None:
    remade = remake(grown.path, grown.settings, 2, full=full, out=tmp_path / "made")
    remade.check()
    assert (remade.kept, remade.made) == (grown.version(2).artifact,) * 2
    assert (tmp_path / "made").read_bytes() == grown.registry.get(remade.kept)
    assert (remade.environments, remade.changed, remade.apart) == ([], [], None)
    began = commits(grown.registry)[remade.first]
    assert remade.again == remade.learned - began.learned
    assert (remade.first == 0) == full
    assert remade.first < remade.last


def test_so_it_has_where_a_store_that_went_back_made_samples_void(grow: Grow, embedded_redis: Redis) -> None:
    back = grow(small.samples(84), part=7, every_days=1, redis=embedded_redis)
    assert any(commit.void for commit in commits(back.registry))
    newest = back.registry.last(CHAMPIONS)
    assert newest >= 2
    for version in range(1, newest + 1):
        assert remake(back.path, back.settings, version).equal


def test_version_0_is_made_again_of_the_history(tmp_path: Path) -> None:
    settings = msgspec.structs.replace(config.Settings(), registry=config.Registry(path=str(tmp_path)))
    (tmp_path / "pipeline.py").write_text(FILE.format(name="afresh"))
    assert bootstrap(replace(PIPELINE, name="afresh"), Registry(tmp_path / "afresh"))
    remade = remake(tmp_path / "pipeline.py", settings, 0)
    remade.check()
    assert remade.equal


def test_what_has_changed_since_a_version_was_made_is_named(grown: Grown) -> None:
    """Version 0 was made under another name, which the artifact says: other bytes, but the same answers."""
    remade = remake(grown.path, grown.settings, 0)
    remade.check()
    assert not remade.equal
    assert remade.changed == ["pipeline"]
    assert remade.apart == {"largest": 0.0, "mean": 0.0, "changed": 0.0}


def test_a_version_whose_commits_say_otherwise_has_other_bits(grow: Grow) -> None:
    other = grow(small.samples(84), part=7, every_days=2)
    commit = next(one for one in commits(other.registry) if one.due)
    sample = commit.read()[0]
    changed = Raw(encode(msgspec.structs.replace(sample, label=float(sample.label == 0))))
    forge(other.registry, msgspec.structs.replace(commit, samples=[changed, *commit.samples[1:]]))
    remade = remake(other.path, other.settings, 1)
    assert not remade.equal
    assert remade.apart is not None
    with pytest.raises(Disagreement, match="version 1 is not what its commits make"):
        remade.check()


def test_in_another_environment_answers_are_compared(grown: Grown) -> None:
    remade = msgspec.structs.replace(
        remake(grown.path, grown.settings, 1), made="other", environments=["torch 1"], apart={"largest": 0.001}
    )
    remade.check()
    with pytest.raises(Disagreement, match="too far"):
        msgspec.structs.replace(remade, refusal="too far").check()


def test_without_an_event_it_is_bit_for_bit_that_of_a_log_in_which_it_never_was(grow: Grow, tmp_path: Path) -> None:
    log = small.samples(120)
    one = grow(log, part=1, every_days=2)
    never = grow([s for s in log if s.id != "id-70"], part=1, every_days=2, name=one.name)
    assert [c.artifact for c in one.registry.records(CHAMPIONS)] != [
        c.artifact for c in never.registry.records(CHAMPIONS)
    ]
    for version in (1, 2):
        made = forget(one.path, one.settings, version, frozenset({"id-70"}), out=tmp_path / f"{version}")
        assert made.remade.made == never.version(version).artifact
        assert (tmp_path / f"{version}").read_bytes() == never.registry.get(made.remade.made)


def test_without_events_the_state_is_that_of_learning_what_is_left(grown: Grown) -> None:
    """The same micro-batches without them, learned one after the other."""
    ids, last = {"id-8", "id-9", "id-60"} | {f"id-{n}" for n in range(21, 28)}, len(commits(grown.registry)) - 1
    learner = make_learner(grown.feed.pipeline)
    learner.load(states.get(grown.registry, str(commits(grown.registry)[0].state)))
    for commit in commits(grown.registry):
        samples = iter(commit.read())
        for size in commit.batches:
            left = [one for one in (next(samples) for _ in range(size)) if one.id not in ids]
            if left:
                learner.learn(left)
    again = make_learner(grown.feed.pipeline)
    rebuild(again, grown.registry, last, base=0, forget=ids)
    assert pack_state(again.state()) == pack_state(learner.state())
    assert again.learned == commits(grown.registry)[-1].learned - len(ids)


def test_a_recent_event_costs_what_follows_the_state_before_it(
    grow: Grow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(States, "due", True)
    long = grow(small.samples(1_340), part=20, every_days=DAY + 55)
    made = forget(long.path, long.settings, 1, frozenset({"id-1300"}), out=tmp_path / "made")
    assert made.receipt.samples == 1
    assert made.remade.learned == long.version(1).learned - 1 > 1_300
    assert 0 < made.remade.again <= made.remade.learned / 20


def test_ids_that_a_version_never_learned_are_named(grown: Grown, tmp_path: Path) -> None:
    made = forget(grown.path, grown.settings, 1, frozenset({"nobody", "id-110"}), out=tmp_path / "made")
    assert made.never == ["id-110", "nobody"]
    assert (made.receipt.samples, made.receipt.never, made.remade.again) == (0, 2, 0)
    assert made.remade.equal  # as it was: there was nothing to leave out
    commit = next(c for c in commits(grown.registry) if any(one.id == "id-110" for one in c.read()))
    assert made.receipt.erase[0].found == [f"tail/{commit.number:012}"]


def test_what_is_wrong_is_said(grown: Grown, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no version 9; the newest is 2"):
        remake(grown.path, grown.settings, 9)
    with pytest.raises(ConfigError, match="version 0 learned the pipeline's history and no event"):
        forget(grown.path, grown.settings, 0, frozenset({"id-1"}), out=tmp_path / "made")
    elsewhere = msgspec.structs.replace(grown.settings, registry=config.Registry(path=str(tmp_path)))
    with pytest.raises(ConfigError, match="has no version: use the working directory of the run"):
        remake(grown.path, elsewhere, 1)
    for more in ([], ["--out", str(tmp_path / "made"), "--full"]):
        with pytest.raises(ConfigError, match="--without needs --out FILE"):
            app(["rebuild", str(grown.path), "1", "--without", "id-1", *more], standalone_mode=False)


def test_a_service_that_is_not_there_is_named_as_not_looked_into(grown: Grown, tmp_path: Path) -> None:
    made = forget(grown.path, grown.settings, 1, frozenset({"id-1"}), out=tmp_path / "made")
    unknown = {one.what: one.unknown for one in made.receipt.erase if one.unknown}
    assert unknown.keys() == {"records", "entries of the store"}
    assert all("no feed that runs on embedded services" in str(why) for why in unknown.values())


def test_the_commands_leave_an_artifact_and_a_receipt_that_names_all_else(
    grown: Grown, broker: Running, embedded_store_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    toml, letters = fill(grown, broker, embedded_store_url), grown.path.parent
    (tmp_path / "ids").write_text("id-3\nid-4\n")
    out = tmp_path / "v2.safetensors"
    again = ["rebuild", str(grown.path), "v2", "--config", str(toml)]
    app(
        [*again, "--without", f"@{tmp_path / 'ids'}", "--without", "nobody", "--out", str(out), "--json"],
        standalone_mode=False,
    )
    printed = capsys.readouterr()
    told: dict[str, Any] = json.loads(printed.out.splitlines()[-1])
    assert told["never"] == ["nobody"]
    assert "never learned by v2: nobody" in printed.err
    signed = check(Path(told["receipt_file"]), letters / "receipts.pub")
    assert signed.receipt.ids == digests(["id-3", "id-4", "nobody"])
    assert b"id-3" not in Path(told["receipt_file"]).read_bytes()
    found = {(one.what, one.where): one.found for one in signed.receipt.erase}
    name = grown.name
    assert found.pop(("entries of the store", f"shard 0 of {name}")) == digests(["id-3", "id-4"])
    assert {where: at for (what, where), at in found.items() if what in ("records", "dead letters")} == {
        f"{name}.requests:0": ["1"], f"{name}.predictions:0": ["1", "2"], f"{name}.outcomes:0": ["1", "3"],
        f"{name}.dead:0": ["1"],
    }  # fmt: skip
    registry = {what: at for (what, _), at in found.items()}
    assert registry["commits"] == ["tail/000000000001"]
    assert registry["artifacts"] == [one.artifact for one in grown.registry.records(CANDIDATES)]
    assert registry["states"] == [name.object for name in listed(grown.registry.objects)]
    app(["check-receipt", told["receipt_file"], "--key", str(letters / "receipts.pub")], standalone_mode=False)
    assert "to be erased as well" in capsys.readouterr().out
    app(again, standalone_mode=False)
    assert "the same bits" in capsys.readouterr().out


def fill(grown: Grown, broker: Running, store: str) -> Path:
    """Publish events, two of which cannot be read, with their dead letters; return a file of settings."""
    topics = config.Topics().named(grown.name)
    ensure_topics(broker.address, dict.fromkeys((topics.requests, topics.predictions, topics.outcomes, topics.dead), 1))
    log, outcomes = grown.feed.log, Tp(topics.outcomes, 0)
    with closing(Sink(broker.address)) as sink:
        for n in (2, 3):
            sink.send(Tp(topics.requests, 0), key=b"id-%d" % n, value=bytes(log[n].prediction.features), t_ms=log[n].t)
        for n in (2, 3, 4):
            value = encode(log[n].prediction)
            sink.send(Tp(topics.predictions, 0), key=b"id-%d" % n, value=value, t_ms=log[n].t)
        for key, value in (
            (b"id-2", b'{"label":1}'),
            (b"id-3", b'{"label":1}'),
            (b"id-5", b"id-30"),
            (b"id-4", b"spoilt"),
        ):
            sink.send(outcomes, key=key, value=value, t_ms=small.START_MS)
        sink.flush()
        dead = DeadLetters(sink, topics.dead, 1_000)
        for offset, key, value in ((2, b"id-5", b"id-30"), (3, b"id-4", b"spoilt")):
            record = Record(topics.outcomes, 0, offset, small.START_MS, small.START_MS, key, value)
            dead.put([Letter(outcomes, offset, offset + 1, "not JSON", record)])
        dead.flush()
    toml = grown.path.parent / "services.toml"
    toml.write_text(
        f'[kafka]\nbootstrap = "{broker.address}"\n[redis]\nurl = "{store}"\n[registry]\npath = "{grown.path.parent}"\n'
    )
    return toml


def test_versions_say_what_they_are_made_of_and_which_one_answered_what(grow: Grow) -> None:
    """A feed whose records nobody has signed is shown as it is, and says so; signed, it names the key."""
    feed = grow(small.samples(84), part=7, every_days=2, name="told")
    told = lineage.versions(feed.path, feed.settings)
    assert [one.version for one in told] == [0, 1]
    assert [one.candidate for one in told] == [None, 0]
    assert all(one.signed.startswith("NOT TAKEN: champion/") for one in told)
    sign(opened(feed.path, feed.settings))
    assert {len(one.signed) for one in lineage.versions(feed.path, feed.settings)} == {16}
    shown = lineage.show(feed.path, feed.settings, 1)
    assert shown.version.learned == shown.log["0"][1] == feed.version(1).learned
    assert shown.chain == shown.version.commit
    assert shown.offsets.keys() == {"p:0", "o:0"}
    assert all(start == 0 < end for start, end in shown.offsets.values())
    assert shown.manifest["pipeline"] == "told"
    assert {*shown.follows} == {"champion/0", "candidates/0"}
    found = lineage.diff(feed.path, feed.settings, 0, 1)
    assert found.changed["learned"] == (0, feed.version(1).learned)
    assert all(apart is not None and 0 < apart < 10 for apart in found.weights.values())
    assert not lineage.diff(feed.path, feed.settings, 1, 1).weights
    one = feed.feed.log[30]
    answered = lineage.find(feed.path, feed.settings, one.id)
    assert answered.prediction is not None
    assert (answered.prediction.id, answered.version.version) == (one.id, 0)
    assert [(kind, label, t_ms) for kind, label, t_ms, _ in answered.outcomes] == [("joined", one.label, one.label_t)]
    (read,) = answered.read
    assert read.commit == answered.outcomes[0][-1]
    assert read.before.keys() == read.offsets.keys() == {"p:0", "o:0"}
    assert all(start == 0 <= read.before[tp] <= 30 < end for tp, (start, end) in read.offsets.items())
    later = lineage.find(feed.path, feed.settings, "2026-11-27T12:00:00+00:00")
    assert later.version.version == 1
    assert [one.commit for one in later.read] == [feed.registry.last(COMMITS)]
    for commit in commits(feed.registry)[1:]:
        then = lineage.find(feed.path, feed.settings, str(commit.watermark_ms)).read[0]
        assert then.offsets == commit.offsets
        assert lineage.find(feed.path, feed.settings, str(commit.watermark_ms - 1)).read[0].commit < commit.number
    with pytest.raises(ConfigError, match="no sample of 'nobody' is in a commit"):
        lineage.find(feed.path, feed.settings, "nobody")
    with pytest.raises(ConfigError, match="there is no version 7; the newest is 1"):
        lineage.show(feed.path, feed.settings, 7)
    for command in (["versions"], ["show", "v1"], ["diff", "v0", "1"], ["find", one.id]):
        name, *more = command
        run = CliRunner().invoke(
            app,
            [name, str(feed.path), *more, "--json"],
            env={"SHADOWSTREAM_REGISTRY_PATH": feed.settings.registry.path},
        )
        assert run.exit_code == 0, run.output
        json.loads(run.output.splitlines()[-1])


def test_a_plan_says_that_a_log_in_memory_is_gone(grown: Grown, capsys: pytest.CaptureFixture[str]) -> None:
    own = msgspec.structs.replace(grown.settings, kafka=config.Kafka(bootstrap="broker:9092"))
    assert planned(grown.path, own).without_log is None
    found = planned(grown.path, grown.settings)
    with pytest.raises(ConfigError, match=f"{grown.name} holds a feed whose log is gone.* --fresh .*--from"):
        found.check()
    show_plan(Console(width=200), found)
    assert "a start goes on" not in capsys.readouterr().out
    show_plan(Console(width=200), planned(grown.path, own))
    assert f"{grown.name}: a start goes on" in capsys.readouterr().out


def test_a_chain_that_is_broken_is_told(grow: Grow) -> None:
    feed = grow(small.samples(84), part=7, every_days=2, name="broken")
    line = feed.registry.read(COMMITS, 1) or b""
    (feed.registry.folder / feed.registry.place(COMMITS, 1)).write_bytes(
        frames.pack(line.replace(b'"learned":', b'"learned": ', 1), frames.FAST)
    )
    with pytest.raises(RegistryError, match=r"000000000001 or .* is damaged: commit 2 names another one"):
        lineage.show(feed.path, feed.settings, 1)
