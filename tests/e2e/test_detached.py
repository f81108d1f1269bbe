"""`shadowstream run --detach`: command and supervisor end, roles go on; `stop` and `logs` find them from elsewhere."""

import os
import signal
from pathlib import Path

import psutil
import pytest

from deploy.registry import runs
from deploy.registry.storage.home import home
from tests.cases.join import until
from tests.clustered import PIPELINE, Clustered, pids
from tests.conftest import Running
from tests.nodes import nodes


@pytest.mark.parametrize("broker", ["embedded"], indirect=True)
@pytest.mark.parametrize("store_server", ["embedded"], indirect=True)
@pytest.mark.long
def test_roles_outlive_the_command_and_the_supervisor_which_finds_them_again(
    broker: Running, store_server: Running, tmp_path: Path
) -> None:
    with nodes(tmp_path) as cluster:
        cluster.start("head")
        text, registry = PIPELINE.format(name="left"), tmp_path / "kept"
        left = Clustered(tmp_path / "driver" / "pipeline.py", text, cluster, broker, store_server, registry)
        assert "there is no detached run" in left.said("stop")
        assert "the run goes on without this command" in left.said("run", "--detach")
        assert "the run goes on already" in left.said("run", "--detach")
        other = Clustered(
            tmp_path / "other" / "pipeline.py", text, cluster, broker, store_server, tmp_path / "another's"
        )
        assert "another feed 'left': its registry is " in other.said("run", "--detach", code=9)
        left.publish("left", range(200))
        before = pids(left.learned(200))
        objects = home(left.settings.registry.path, "left").objects
        newest = runs.newest(objects)
        supervisor = runs.read(objects, newest)
        assert supervisor is not None
        os.kill(supervisor.process, signal.SIGKILL)
        left.publish("left", range(200, 400))
        until(lambda: runs.newest(objects) > newest)
        assert pids(left.learned(400)) == before, "the roles' processes are those of before"
        assert "v0 serves, as before" in left.said("logs", "supervisor")
        left.said("logs", "server")
        assert "the run has ended" in left.said("stop")
        assert not [pid for pid in before.values() if psutil.pid_exists(pid)]
    left.audit()
