"""`run` and `join` on one Ray cluster of two nodes, of which one is killed that has joiners, server and learner."""

import json
import signal
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from deploy.monitor import View
from streams.join.store import Store
from streams.kafka import Sink, Tp
from tests.clustered import Clustered
from tests.conftest import Running
from tests.nodes import nodes

PIPELINE = """
from beside import named

pipeline = named("far")
"""
BESIDE = """
from dataclasses import replace
from tests import small

def named(name):
    return replace(small.pipeline, name=name)
"""
ROLES = """
[ray.roles.server]
labels = { zone = "b" }
[ray.roles.learner]
cpus = 1
labels = { zone = "b" }
"""
FEED = """
from shadowstream import Feed, fields

feed = Feed(name="clicks", prediction=fields(id="id", t="t"), outcome=fields(id="id", t="t", label="label"))
"""
JOINS = """
[topics]
partitions = 2
[join]
joiners = 2
[ray.roles.joiner]
labels = { zone = "b" }
"""
T = 1_700_000_000_000


def folders(view: View) -> set[str]:
    """Return where the processes of all roles work."""
    assert view.pulse is not None
    return {str(Path(psutil.Process(one.pid).cwd())) for one in view.pulse.roles}


def click(bootstrap: str, numbers: range) -> None:
    """Publish events of the feed that is joined alone."""
    with closing(Sink(bootstrap)) as sink:
        for n in numbers:
            event = {"id": f"id-{n}", "t": T + n}
            for topic, more in (("clicks.predictions", {"n": n}), ("clicks.outcomes", {"label": n % 2})):
                sink.send(Tp(topic, n % 2), key=None, value=json.dumps(event | more).encode(), t_ms=T + n)
        sink.flush()


@pytest.mark.parametrize("broker", ["embedded"], indirect=True)
@pytest.mark.parametrize("store_server", ["embedded"], indirect=True)
@pytest.mark.long
def test_what_a_node_had_begins_on_another_and_the_audits_balance(
    broker: Running, store_server: Running, tmp_path: Path
) -> None:
    with nodes(tmp_path) as cluster:
        cluster.start("head")
        far = Clustered(
            tmp_path / "driver" / "pipeline.py", PIPELINE, cluster, broker, store_server, tmp_path / "kept", ROLES
        )
        beside = far.file.with_name("beside.py")
        beside.write_text(BESIDE)
        clicks = Clustered(
            tmp_path / "joins" / "feed.py", FEED, cluster, broker, store_server, tmp_path / "kept", JOINS
        )
        assert "asks for a token" in far.said("run", plain=True, code=2)
        lacks = "ray.roles.learner needs cpus = 1, labels zone = 'b', and no node has"
        assert lacks in far.said("run", code=2)
        cluster.start("far", labels="zone=b")
        with far.begun("run") as process, clicks.begun("join", "--json") as joins:
            far.publish("far", range(200))
            places = folders(far.learned(200, process))
            assert not [path for path in places if path.startswith(str(tmp_path))]
            click(broker.address, range(200))
            clicks.joined(200, joins)
            beside.unlink()  # what a node needs of it, it has
            cluster.kill("far")
            far.publish("far", range(200, 400))
            cluster.start("near", labels="zone=b")
            view = far.learned(400, process)
            assert view.pulse is not None
            starts = {one.role: one.starts for one in view.pulse.roles}
            assert starts["server"] >= 1
            assert starts["learner"] >= 1
            click(broker.address, range(200, 400))
            clicks.joined(400, joins)
            process.send_signal(signal.SIGINT)
            process.communicate()
            with closing(Store(store_server.address)) as store:
                store.close_feed("clicks", 0)
            said, _ = joins.communicate()
            assert joins.returncode == 0, said
            assert "the joiner-0, process" in said, "it was lost with its node"
            assert "died; starting it again" in said
            summary = json.loads(said.splitlines()[-1])
            assert (summary["samples"], summary["joined"], summary["waiting"]) == (400, 400, 0)
    beside.write_text(BESIDE)
    far.audit()
    clicks.audit()
