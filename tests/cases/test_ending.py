"""A signal ends a join in order, with what it has done and what the next start finds."""

import json
import signal
from collections.abc import Callable

import psutil
import pytest

from tests.cases.join import NOW, Join, until
from tests.conftest import Running

Starts = Callable[..., Join]
SIGNALS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}


@pytest.mark.parametrize("broker", ["embedded"], indirect=True)
@pytest.mark.parametrize("number", SIGNALS)
def test_a_join_on_services_that_last(
    number: signal.Signals, joining: Starts, broker: Running, embedded_store_url: str
) -> None:
    name = f"ends{number}"
    join = joining(name, SHADOWSTREAM_KAFKA_BOOTSTRAP=broker.address, SHADOWSTREAM_REDIS_URL=embedded_store_url)
    join.publish(*(("predictions", {"id": f"i{n}", "at": NOW}) for n in range(3)))
    join.publish(("outcomes", {"id": "i0", "at": NOW, "y": 1}))
    join.settled(4)
    until(lambda: "4 events" in join.said(), join.said)
    family = psutil.Process(join.process.pid).children(recursive=True)
    join.process.send_signal(number)
    assert join.ended() == SIGNALS[number], join.said()
    assert not [one for one in psutil.wait_procs(family, timeout=300)[1] if one.status() != psutil.STATUS_ZOMBIE]
    said = join.said()
    assert f"interrupted: the join ends. {name} at" in said
    places = f"the next start goes on at {name}.outcomes/0 at 1, {name}.predictions/0 at 3; 2 predictions wait"
    assert places in said
    assert f"samples: the store's stream {{{name}.0}}:s (1 unread)" in said
    join.start()
    join.publish(("outcomes", {"id": "i1", "at": NOW, "y": 1}))
    assert join.settled(5)["joined"] == 2


def test_a_join_on_embedded_services_says_that_they_end(joining: Starts) -> None:
    join = joining("endse")
    assert join.stop() == 130
    join.start("--json")
    until(lambda: "endse at" in join.said(), join.said)
    join.process.terminate()
    assert join.ended() == 143
    said = join.said()
    assert "the embedded services end with it" in said
    summary = json.loads(next(one for one in said.splitlines() if one.startswith("{")))
    assert summary["feed"] == "endse"


def test_a_signal_before_a_join_has_begun(joining: Starts) -> None:
    join = joining("endsb", wait=False)
    until(lambda: "embedded store" in join.said(), join.said)
    join.process.terminate()
    assert join.ended() == 143
    assert "interrupted: the join" in join.said()
