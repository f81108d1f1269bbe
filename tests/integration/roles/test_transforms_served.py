"""What was served with transforms, and what the log makes of it again: equal bit for bit, after a promotion too."""

from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
import torch

from compressors.artifact.format import load as load_artifact
from deploy import config
from deploy.engine import load
from deploy.learning.bootstrap import bootstrap
from deploy.learning.candidates import make_learner
from deploy.learning.distiller import DistillerRole
from deploy.learning.learner import LearnerRole
from deploy.learning.rules import CommitRules
from deploy.pipeline import Pipeline
from deploy.processes.roles import Plan, build
from deploy.registry.commits import read
from deploy.registry.kinds import CANDIDATES, CHAMPIONS, SERVER
from deploy.registry.opening import open_registry
from deploy.registry.rebuild import check as check_rebuild
from deploy.registry.records import Champion
from deploy.registry.registry import Registry
from deploy.registry.states.kept import Kept
from learners.online.networks.network import under
from streams.events import Prediction, Sample
from streams.join.store import Store
from streams.kafka import Sink, Source, Tp, ensure_topics
from streams.kafka.reading.scan import records
from tests import transformed
from tests.conftest import Running
from tests.integration.roles.test_roles import emit
from tests.learned import until

USUAL = Pipeline(
    name="usual", features=transformed.Visit, online=transformed.pipeline.online, history=transformed.history
)
EACH = 12  # requests to each version, one a batch


@pytest.mark.parametrize("made", [transformed.pipeline, USUAL], ids=lambda pipeline: pipeline.name)
def test_served_and_replayed_answers_are_equal_bit_for_bit(
    broker: Running, store_server: Running, tmp_path: Path, made: Pipeline
) -> None:
    feed = replace(made, name=f"served-{made.name}-{broker.kind}-{store_server.kind}")
    registry, topics = open_registry(tmp_path), config.Topics().named(feed.name)
    assert bootstrap(feed, registry, engines=True)
    ensure_topics(broker.address, dict.fromkeys((topics.requests, topics.predictions, topics.dead), 1))
    settings = config.Settings(
        kafka=config.Kafka(bootstrap=broker.address), redis=config.Redis(url=store_server.address)
    )
    plan = Plan(pipeline=Path(), settings=settings, registry=registry.folder, fetch_wait_ms=10)
    with ExitStack() as stack:
        store = stack.enter_context(closing(Store(store_server.address)))
        sink = stack.enter_context(closing(Sink(broker.address)))
        store.create(feed.name, 1, [("p", 0), ("o", 0)])
        server = build("server", plan, feed, stack)

        def serve(asked: list[Sample]) -> None:
            for one in asked:
                at = Tp(topics.requests, 0)
                sink.send(at, key=one.id.encode(), value=bytes(one.prediction.features), t_ms=one.t)
                sink.flush()
                until(lambda: bool(server.step(50)))

        serve(transformed.samples(EACH))
        promote(feed, store, registry)

        def swapped() -> bool:
            server.step(50)
            note = SERVER.read(*store.get(feed.name, SERVER.name))
            return note is not None and note.version == 1

        until(swapped)
        serve(transformed.samples(EACH, seed=1, start=1_000))
    with closing(Source(broker.address, [Tp(topics.predictions, 0)], fetch_wait_ms=10)) as source:
        found = [msgspec.json.decode(record.value or b"", type=Prediction) for record in records(source)]
    assert [p.version for p in found] == [0] * EACH + [1] * EACH
    encoder = feed.encoder()
    for p in found:
        record = registry.record(CHAMPIONS, p.version)
        assert record is not None
        running = load(registry, record.artifact, record.engine, feed.model)
        again = running(*encoder.encode([encoder.decode(bytes(p.features))])) + torch.tensor(record.offset)
        assert again.flatten().tolist() == torch.tensor(p.output).tolist()
    assert len({p.output for p in found}) > EACH  # they differ at all
    assert check_rebuild(make_learner(feed), registry).equal


def promote(feed: Pipeline, store: Store, registry: Registry) -> None:
    """Have samples learned, a candidate made of the learner's state, and let it be champion, proven or not."""
    learner = LearnerRole(feed.name, 1, store, registry, make_learner(feed), CommitRules(60, 1e9, every_days=2))
    distiller = DistillerRole(feed, store, registry, engines=True)
    offset = 0
    for start in range(0, 180, 60):
        offset = emit(store, feed.name, transformed.samples(60, seed=2, start=start), offset)
        for role in (learner, distiller):
            while role.step(1):
                pass
    candidate = registry.record(CANDIDATES, registry.last(CANDIDATES))
    assert candidate is not None
    assert candidate.refused is None
    state = Kept(registry).of(read(registry, candidate.commit)) or {}
    learned, first = under(state, "teacher.model"), under(first_state(registry), "teacher.model")
    served = load_artifact(registry.get(candidate.artifact), feed.model)
    kept = {name: tensor for name, tensor in served.named_buffers() if name in learned and name in served.state_dict()}
    assert sum(not torch.equal(tensor, first[name]) for name, tensor in kept.items()) >= 2  # they moved since then
    for name, tensor in kept.items():
        assert torch.equal(tensor, learned[name]), name
    made = Champion(
        number=1, artifact=candidate.artifact, candidate=candidate.number, offset=(0.0,), at_ms=candidate.at_ms,
        learned=candidate.learned, evidence="a test", engine=candidate.engine,
    )  # fmt: skip
    assert registry.create(CHAMPIONS, 1, made)


def first_state(registry: Registry) -> dict[str, torch.Tensor]:
    return Kept(registry).of(read(registry, 0)) or {}
