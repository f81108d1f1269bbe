"""A signal ends a join in order, with what it has done and what the next start finds."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.cases.join import NOW, Join, until
from tests.conftest import Running

Starts = Callable[..., Join]
SIGNALS = {signal.SIGINT: 130, signal.SIGTERM: 143}
if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup: then children ignore it, too
    SIGNALS[signal.SIGHUP] = 129


@pytest.mark.parametrize("broker", ["embedded"], indirect=True)
def test_a_join_on_services_that_last(joining: Starts, broker: Running, embedded_store_url: str) -> None:
    join = joining("ends", SHADOWSTREAM_KAFKA_BOOTSTRAP=broker.address, SHADOWSTREAM_REDIS_URL=embedded_store_url)
    join.publish(*(("predictions", {"id": f"i{n}", "at": NOW}) for n in range(5)))
    for n, (number, code) in enumerate(SIGNALS.items(), 1):
        join.publish(("outcomes", {"id": f"i{n}", "at": NOW, "y": 1}))
        assert join.settled(5 + n)["joined"] == n
        until(lambda n=n: f"{5 + n} events" in join.said(), join.said)  # type: ignore[misc]
        family = psutil.Process(join.process.pid).children(recursive=True)
        join.process.send_signal(number)
        assert join.ended() == code, join.said()
        assert not [one for one in psutil.wait_procs(family, timeout=300)[1] if one.status() != psutil.STATUS_ZOMBIE]
        said = join.said()
        assert "interrupted: the join ends. ends at" in said
        places = f"the next start goes on at ends.outcomes/0 at {n}, ends.predictions/0 at 5; {5 - n} predictions wait"
        assert places in said
        assert f"samples: the store's stream {{ends.0}}:s ({n} unread)" in said
        join.start()


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


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_while_the_command_is_imported(number: int, tmp_path: Path) -> None:
    (tmp_path / "msgspec.py").write_text(f"import os, time\nos.kill(os.getpid(), {int(number)})\ntime.sleep(300)")
    path = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[3])])
    ended = subprocess.run(
        [sys.executable, "-m", "shadowstream", "run", "pipeline.py"],
        env=os.environ | {"PYTHONPATH": path}, capture_output=True, timeout=300, check=False,
    )  # fmt: skip
    assert (ended.returncode, ended.stdout, ended.stderr) == (SIGNALS[signal.Signals(number)], b"", b"")
