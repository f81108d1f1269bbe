"""A backtest of the topics of a run decides what the run did: the same versions, bit for bit, at the same samples."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from deploy.config import Settings
from deploy.operate.versions.backtest import on_events
from deploy.registry.kinds import CHAMPIONS, VERDICTS
from deploy.registry.registry import Registry
from streams.join.policy import JoinPolicy
from streams.kafka.broker import Broker
from tests.conftest import Running
from tests.e2e.test_loop import result, start

PIPELINE = """
from dataclasses import replace
from shadowstream import Promotion
from tests import small

def feed():  # no outcome comes in the slice of its request, where the order of the two is left to chance
    later = [one._replace(t_ms=one.t_ms + small.HOUR_MS * (one.topic == "outcomes")) for one in small.feed(days=10)]
    return sorted(later, key=lambda one: one.t_ms)

pipeline = replace(small.pipeline, name="again", feed=feed, promotion=Promotion(every_days=3, candidates_a_year=121))
"""


@pytest.mark.long
def test_events_of_topics_decide_as_the_run_did(broker: Running, tmp_path: Path) -> None:
    if broker.kind == "embedded":
        pytest.skip("its log goes when the run ends")
    (path := tmp_path / "pipeline.py").write_text(PIPELINE)
    summary = result(start(tmp_path, path, SHADOWSTREAM_KAFKA_BOOTSTRAP=broker.address), tmp_path)
    settings = replace(Settings(), kafka=Broker(bootstrap=broker.address), join=JoinPolicy(window_s=129_600))
    found = on_events(path, settings, [], None, say=lambda line: None)
    (ours,), run = found.policies, Registry(tmp_path / "again")
    assert found.events
    assert found.events.samples == summary["samples"]
    # not at the same number of a commit: on a busy machine a run makes two of one slice
    judged = [(one.candidate, one.decision, one.samples, one.gain) for one in ours.verdicts]
    assert judged == [(one.candidate, one.decision, one.samples, one.gain) for one in run.records(VERDICTS)]
    served = [(one.artifact, one.learned, one.offset) for one in ours.versions]
    assert served == [(one.artifact, one.learned, one.offset) for one in run.records(CHAMPIONS)]
    assert len(served) > 1
    assert not found.otherwise
