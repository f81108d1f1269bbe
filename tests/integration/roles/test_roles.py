"""Server, learner, distiller, evaluator and conductor on a real broker and store, step by step, in one process."""

import math
from contextlib import ExitStack, closing
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from msgspec.structs import replace as replaced
from torch import nn

from compressors.answers import answers
from compressors.artifact import format as artifact
from deploy import config
from deploy.engine import load
from deploy.learning.bootstrap import bootstrap
from deploy.learning.candidates import make_learner
from deploy.learning.distiller import DistillerRole
from deploy.learning.learner import LearnerRole
from deploy.learning.rules import CommitRules
from deploy.pipeline import Pipeline
from deploy.processes.roles import Plan, build
from deploy.promotion.conductor import ConductorRole
from deploy.promotion.evaluator import EvaluatorRole
from deploy.registry.kinds import ALARMS, CANDIDATES, CHAMPIONS, COMMITS, KINDS, LEARNER, VERDICTS, Kind
from deploy.registry.learned import count_learned, learned_equations
from deploy.registry.notes import LearnerNote, ServerNote
from deploy.registry.opening import open_registry, sign
from deploy.registry.records import Evidence
from deploy.registry.registry import Registry
from deploy.run.summary import refused
from deploy.serving import share
from deploy.serving.share import servers_group
from learners.commits import commit as commits
from learners.evaluation.verdict import Decision
from streams.errors import LostRace
from streams.events import WAITING, Prediction, Record, Request, Sample
from streams.join.policy import JoinPolicy
from streams.join.step import Move, Rules, Step, outcome_entry, prediction_entry, recent
from streams.join.store import Store
from streams.kafka import Sink, Source, Tp, ensure_topics
from streams.kafka.reading.positions import Positions
from streams.kafka.reading.scan import records
from streams.readers import json_request, read_sample
from tests import small
from tests.conftest import Running
from tests.learned import until

NUMBERS = count()


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry with the small pipeline's first version."""
    folder = tmp_path_factory.mktemp("first")
    assert bootstrap(small.pipeline, Registry(folder))
    return folder


@pytest.fixture
def registry(first: Path, tmp_path: Path) -> Registry:
    """A copy of it, of the test's own."""
    copied, original = open_registry(tmp_path / "registry"), Registry(first)
    for path in (first / "blobs").iterdir():
        copied.put(path.read_bytes())
    for kind in KINDS:
        if (data := original.read(kind, 0)) is not None:
            copied.write(kind, 0, data)
    sign(copied)
    return copied


@pytest.fixture
def feed() -> Pipeline:
    """The small pipeline under a name of its own."""
    return replace(small.pipeline, name=f"feed-{next(NUMBERS)}")


def emit(store: Store, feed: str, samples: list[Sample], offset: int) -> int:
    """Put samples through the join: each prediction, then its outcome."""
    step = Step(f"token-{offset}", Rules(10**12, 10**12, 0, 10**12))
    step.moves = [Move("p:0", offset, offset + len(samples)), Move("o:0", offset, offset + len(samples), outcomes=1)]
    for sample in samples:
        prediction = prediction_entry(sample.id, sample.t, msgspec.json.encode(sample.prediction).decode(), 10**12)
        outcome = outcome_entry(sample.id, sample.label_t, str(sample.label), 2 * 10**12)
        step.which += [1, 2]
        step.ids += [sample.id, sample.id]
        step.times += [sample.t, sample.label_t]
        step.items += [prediction[0], outcome[0]]
        step.bodies += [prediction[1], outcome[1]]
    for move, times in zip(step.moves, (step.times[::2], step.times[1::2]), strict=True):
        move.records, move.t_ms, move.recent = len(samples), max(times), recent(times)
    store.step(feed, 0, step)
    return offset + len(samples)


class FullDisk(Registry):
    """A registry that can be read, and where no record can be created."""

    def write(self, kind: Kind[Any], number: int, data: bytes) -> bool:
        raise OSError("the disk is full")


class Untrimmed(Store):
    """A store that keeps its streams whole."""

    def trim(self, feed: str, shard: int, upto: str) -> None:
        pass


def learner_role(feed: Pipeline, store: Store, registry: Registry) -> LearnerRole:
    rules = CommitRules(100, 1e9, every_days=1e9)
    return LearnerRole(feed.name, 1, store, registry, make_learner(feed), rules)


def test_malformed_requests_go_to_the_dead_letters_and_the_feed_goes_on(
    broker: Running, store_server: Running, registry: Registry, feed: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(share, "COMMIT_EVERY_S", math.inf)  # the server is killed before it commits
    with ExitStack() as stack:
        serve_malformed_requests(broker, store_server, registry, replace(feed, request=picky), stack)


def test_a_flood_of_malformed_requests_is_summed_up_before_its_position_is_noted(
    broker: Running, store_server: Running, registry: Registry, feed: Pipeline
) -> None:
    topics = config.Topics().named(feed.name)
    ensure_topics(broker.address, dict.fromkeys((topics.requests, topics.predictions, topics.dead), 1))
    with closing(Sink(broker.address)) as sink:
        for n in range(1_000):
            sink.send(Tp(topics.requests, 0), key=b"i" * (600 if n % 2 else 6), value=b"no JSON", t_ms=n)
        sink.flush()
    settings = config.Settings(
        kafka=config.Kafka(bootstrap=broker.address),
        redis=config.Redis(url=store_server.address),
        dead=config.Dead(most_per_minute=5),
    )
    plan = Plan(pipeline=Path(), settings=settings, registry=registry.folder, fetch_wait_ms=10)
    with ExitStack() as stack:
        store, server = stack.enter_context(closing(Store(store_server.address))), build("server", plan, feed, stack)

        def noted() -> bool:
            server.step(50)
            (note,) = store.get(feed.name, "server")
            requests = msgspec.json.decode(note, type=ServerNote).requests if note else {}
            return requests.get(f"{topics.requests}:0") == 1_000

        until(noted)
    assert refused(config.Kafka(bootstrap=broker.address), topics)[0] == 1_000
    assert 5 < len(in_log(broker.address, topics.dead)) < 30


def test_the_joiner_waits_for_predictions_that_the_servers_owe(
    broker: Running, store_server: Running, registry: Registry, feed: Pipeline
) -> None:
    topics, group = config.Topics().named(feed.name), servers_group(feed.name)
    ensure_topics(broker.address, dict.fromkeys((topics.requests, topics.predictions, topics.outcomes, topics.dead), 1))
    settings = config.Settings(
        kafka=config.Kafka(bootstrap=broker.address),
        redis=config.Redis(url=store_server.address),
        join=JoinPolicy(idle_s=0.001),
    )
    plan = Plan(pipeline=Path(), settings=settings, registry=registry.folder, fetch_wait_ms=10)
    with ExitStack() as stack:
        store = stack.enter_context(closing(Store(store_server.address)))
        store.create(feed.name, 1, [(topics.predictions, 0), (topics.outcomes, 0)])
        sink = stack.enter_context(closing(Sink(broker.address)))
        sink.send(Tp(topics.requests, 0), key=b"one", value=b"{}", t_ms=small.START_MS)
        sink.send(Tp(topics.outcomes, 0), key=b"one", value=b'{"label": 1}', t_ms=small.START_MS)
        sink.flush()
        joiner = build("joiner-0", plan, feed, stack)
        for _ in range(20):
            joiner.step(20)
        assert store.shard(feed.name, 0).watermark_ms == 0
        positions = stack.enter_context(closing(Positions(broker.address, group, [topics.requests])))
        positions.commit_now({Tp(topics.requests, 0): 1})
        until(lambda: bool(joiner.step(20) or store.shard(feed.name, 0).watermark_ms))


def test_the_joiner_marks_at_the_ages_that_the_learner_s_note_has(
    broker: Running, store_server: Running, registry: Registry, feed: Pipeline
) -> None:
    topics = config.Topics().named(feed.name)
    ensure_topics(broker.address, dict.fromkeys((topics.requests, topics.predictions, topics.outcomes, topics.dead), 1))
    settings = config.Settings(
        kafka=config.Kafka(bootstrap=broker.address), redis=config.Redis(url=store_server.address)
    )
    plan = Plan(pipeline=Path(), settings=settings, registry=registry.folder, fetch_wait_ms=10)
    with ExitStack() as stack:
        store = stack.enter_context(closing(Store(store_server.address)))
        store.create(feed.name, 1, [(topics.predictions, 0), (topics.outcomes, 0)])
        marks_ms = (small.HOUR_MS // 4, small.HOUR_MS // 2)
        store.put(feed.name, LEARNER.entry(LearnerNote(0, (0.0,), {}, 0, 0, marks_ms=marks_ms)))
        sink = stack.enter_context(closing(Sink(broker.address)))
        for one in small.samples(20):
            sink.send(Tp(topics.predictions, 0), key=None, value=msgspec.json.encode(one.prediction), t_ms=one.t)
            sink.send(Tp(topics.outcomes, 0), key=one.id.encode(), value=b'{"label": 1}', t_ms=one.label_t)
        sink.flush()
        joiner = build("joiner-0", plan, feed, stack)

        def joined() -> bool:
            joiner.step(50)
            return store.shard(feed.name, 0).counters["joined"] == 20

        until(joined)
        kinds = [read_sample(body).kind for _, body, _ in store.read(feed.name, 0, "0-0", 100)]
    assert kinds == [WAITING, WAITING, "joined"] * 20


def picky(record: Record) -> Request:
    """A user's reader that itself has a mistake."""
    request = json_request(record)
    return request._replace(id=request.id[request.id.index("-") - 2 :])


def serve_malformed_requests(
    broker: Running, store_server: Running, registry: Registry, feed: Pipeline, stack: ExitStack
) -> None:
    topics = config.Topics().named(feed.name)
    ensure_topics(broker.address, dict.fromkeys((topics.requests, topics.predictions, topics.dead), 1))
    good = msgspec.json.encode(small.Point((1.0, 2.0, 3.0, 4.0)))
    values = [
        good,
        b'{"x": [1, 2]}',
        b"not json",
        good,
        None,
        b'{"x": [1, 2, 3, "four"]}',
        good,
        b" " * 1_048_200,
        good,
    ]
    sink = Sink(broker.address)
    for i, value in enumerate(values):
        sink.send(
            Tp(topics.requests, 0), key={6: b"\xff", 8: b"unnumbered"}.get(i, b"id-%d" % i), value=value, t_ms=1_000 + i
        )
    sink.flush()
    plan = Plan(
        pipeline=Path(),
        settings=config.Settings(
            kafka=config.Kafka(bootstrap=broker.address), redis=config.Redis(url=store_server.address)
        ),
        registry=registry.folder,
        fetch_wait_ms=10,
    )
    store = Store(store_server.address)
    server = build("server", plan, feed, stack)

    def served() -> bool:
        server.step(50)
        (note,) = store.get(feed.name, "server")
        requests = msgspec.json.decode(note, type=ServerNote).requests if note else {}
        return requests.get(f"{topics.requests}:0") == len(values)

    until(served)
    note = msgspec.json.decode(store.get(feed.name, "server")[0] or b"", type=ServerNote)
    assert (note.served, note.refused) == (2, 7)
    answers = [msgspec.json.decode(r.value or b"", type=Prediction) for r in in_log(broker.address, topics.predictions)]
    assert [(a.id, a.t, a.version) for a in answers] == [("id-0", 1_000, 0), ("id-3", 1_003, 0)]
    for answer, written in zip(answers, in_log(broker.address, topics.predictions), strict=True):
        meaning = msgspec.json.decode(written.value or b"")["probability"]
        assert meaning == pytest.approx(1 / (1 + math.exp(-answer.served[0])), rel=1e-5)
    letters = in_log(broker.address, topics.dead)
    headers = [{name: value.decode(errors="replace") for name, value in letter.headers} for letter in letters]
    assert [letter.key for letter in letters] == [f"{topics.requests}/0/{n}".encode() for n in (1, 2, 4, 5, 6, 7, 8)]
    assert [letter.value for letter in letters] == [(values[n] or b"")[:65_536] or None for n in (1, 2, 4, 5, 6, 7, 8)]
    reasons = (
        "length 4",
        "not JSON",
        "no value",
        "Expected `float`",
        "not UTF-8",
        "1,048,200 bytes",
        "ValueError: substring not found",
    )
    for letter, reason in zip(headers, reasons, strict=True):
        assert reason in letter["reason"]
    requests, by_reason = refused(config.Kafka(bootstrap=broker.address), topics)
    assert (requests, sum(by_reason.values())) == (7, 7)
    again = build("server", plan, feed, stack)  # a server that was killed before it committed refuses them again

    def refused_again() -> bool:
        again.step(50)
        return len(in_log(broker.address, topics.dead)) == 14

    until(refused_again)
    assert refused(config.Kafka(bootstrap=broker.address), topics)[0] == 7


def in_log(bootstrap_servers: str, topic: str) -> list[Record]:
    with closing(Source(bootstrap_servers, [Tp(topic, 0)], fetch_wait_ms=10)) as source:
        return list(records(source))


def test_a_learner_that_dies_before_its_commit_learns_the_same_again(
    embedded_store: Store, registry: Registry, feed: Pipeline
) -> None:
    embedded_store.create(feed.name, 1, [("p", 0), ("o", 0)])
    chosen = small.samples(250)
    offset = emit(embedded_store, feed.name, chosen[:150], 0)
    dying = learner_role(feed, embedded_store, registry)
    assert dying.step(1)
    before = registry.last(COMMITS)
    assert before > 0
    emit(embedded_store, feed.name, chosen[150:], offset)
    full = FullDisk(registry.folder)
    with pytest.raises(OSError, match="full"):
        learner_role(feed, embedded_store, full).step(1)
    assert registry.last(COMMITS) == before
    resumed = learner_role(feed, embedded_store, registry)
    resumed.step(1)
    assert registry.last(COMMITS) > before
    history = [commits.decode(registry.read(COMMITS, n) or b"") for n in range(registry.last(COMMITS) + 1)]
    learned = [s.prediction.id for commit in history for s in commit.read()]
    assert learned == [s.prediction.id for s in chosen]
    state = embedded_store.shard(feed.name, 0)
    assert state.last_id == history[-1].positions["0"]
    assert state.unread == 0


@pytest.mark.parametrize("kind", [Store, Untrimmed])
def test_a_learner_that_loses_the_race_says_so_and_changes_nothing(
    kind: type[Store], store_server: Running, registry: Registry, feed: Pipeline
) -> None:
    store = kind(store_server.address)
    store.create(feed.name, 1, [("p", 0), ("o", 0)])
    winner, loser = (learner_role(feed, store, registry) for _ in range(2))
    emit(store, feed.name, small.samples(120), 0)
    winner.step(1)
    won = registry.read(COMMITS, 1)
    emit(store, feed.name, small.samples(120, start=120), 120)
    with pytest.raises(LostRace):
        loser.step(1)
    assert registry.read(COMMITS, 1) == won
    assert registry.last(COMMITS) == 1
    learner_role(feed, store, registry).step(1)
    assert registry.last(COMMITS) == 2


def test_what_is_learned_and_not_trimmed_yet_is_not_unread(
    embedded_store_url: str, registry: Registry, feed: Pipeline
) -> None:
    """A learner that died between its commit and the trim has lost nothing."""
    store = Untrimmed(embedded_store_url)
    store.create(feed.name, 1, [("p", 0), ("o", 0)])
    role = learner_role(feed, store, registry)
    offset = emit(store, feed.name, small.samples(120), 0)
    role.step(1)
    emit(store, feed.name, small.samples(30, start=120), offset)
    (state,) = (store.shard(feed.name, 0),)
    (equation,) = learned_equations([state], count_learned(registry))
    assert state.unread == 150
    assert equation.holds, equation


def take(*roles: Any) -> None:
    """Have roles take all that there is, in turn."""
    while sum(role.step(0) for role in roles):
        pass


def constant(feed: Pipeline) -> nn.Module:
    """Return a training form that answers the same to all, as one whose weights are gone."""
    model = make_learner(feed).shadow.student().eval()
    for weights in model.parameters():
        nn.init.zeros_(weights)
    return model


@pytest.mark.parametrize("honest", [True, False])
def test_what_is_served_is_computed_again_and_a_forced_constant_goes_back(
    honest: bool, embedded_store: Store, registry: Registry, feed: Pipeline
) -> None:
    """Its served answers are not those of the artifact: torch serves. The next version is broken: the first is back."""
    embedded_store.create(feed.name, 1, [("p", 0), ("o", 0)])
    learner = learner_role(feed, embedded_store, registry)
    roles = (
        EvaluatorRole(feed, small.timing(2), embedded_store, registry),
        ConductorRole(feed.name, embedded_store, registry),
    )
    first = registry.record(CHAMPIONS, 0)
    assert first is not None
    model = load(registry, first.artifact, first.engine, feed.model, engines=False)
    chosen = small.samples(700)
    outputs = answers(model, feed.encoder().rows(chosen)).double() + torch.tensor(first.offset)
    told = outputs if honest else outputs.flip(0)
    served = [
        replaced(one, prediction=replaced(one.prediction, output=tuple(output)))
        for one, output in zip(chosen, told.tolist(), strict=True)
    ]
    offset = emit(embedded_store, feed.name, served[:600], 0)
    take(learner, *roles)
    alarms = list(registry.records(ALARMS))
    assert [(one.kind, one.champion) for one in alarms] == [("mismatch", 0)] * (not honest)
    assert load(registry, first.artifact, first.engine, feed.model).by.startswith("torch")
    bad, now = registry.put(artifact.pack(constant(feed), {})), registry.last(COMMITS)
    forced = replaced(first, number=1, artifact=bad, engine=None, by="me", because="a mistake", commit=now)
    assert registry.create(CHAMPIONS, 1, forced)
    emit(embedded_store, feed.name, served[600:], offset)
    take(learner, *roles)
    (guard,) = [one for one in registry.records(ALARMS) if one.kind == "guard"]
    assert (guard.champion, guard.back_to, guard.detector) == (1, 0, "constant")
    again = registry.record(CHAMPIONS, 2)
    assert again is not None
    assert (again.artifact, again.back_to) == (first.artifact, 0)
    assert registry.last(CHAMPIONS) == 2


def test_from_samples_to_the_next_champion(embedded_store: Store, registry: Registry, feed: Pipeline) -> None:
    embedded_store.create(feed.name, 1, [("p", 0), ("o", 0)])
    rules = CommitRules(100, 1e9, every_days=5)
    learner = LearnerRole(feed.name, 1, embedded_store, registry, make_learner(feed), rules)
    distiller = DistillerRole(feed, embedded_store, registry)
    evaluator = EvaluatorRole(feed, small.timing(2), embedded_store, registry)
    conductor = ConductorRole(feed.name, embedded_store, registry)
    offset = 0
    for start in range(0, 1_200, 24):
        offset = emit(embedded_store, feed.name, small.samples(24, start=start), offset)
        for role in (learner, distiller, evaluator, conductor):
            while role.step(1):
                pass
    # What was served (0, always) is worse than any model, so a candidate must have been promoted.
    verdict = registry.record(VERDICTS, 0)
    champion = registry.record(CHAMPIONS, 1)
    candidate = registry.record(CANDIDATES, 0)
    assert verdict is not None
    assert champion is not None
    assert candidate is not None
    assert verdict.decision is Decision.PROVEN
    assert isinstance(champion.evidence, Evidence)
    assert champion.evidence.guards == verdict.guards
    assert {"finite", "constant", "latency", "calibration"} <= {guard.name for guard in verdict.guards if guard.passed}
    assert (champion.candidate, champion.artifact) == (0, candidate.artifact)
    assert candidate.figures.sparsity >= 0.8
    again = ConductorRole(feed.name, embedded_store, registry)
    while again.step(1):
        pass
    champions = [registry.record(CHAMPIONS, n) for n in range(registry.last(CHAMPIONS) + 1)]
    assert len({c.candidate for c in champions if c}) == len(champions)
