"""Metrics are fetched by HTTP: of a join that runs elsewhere, of a store that is gone, and of a run's own looks."""

import time
from collections.abc import Callable
from http.client import HTTPConnection

import msgspec
import pytest

from deploy.cli.main import main
from deploy.config import load
from deploy.console.metrics.latest import Latest, Looks, fetched
from deploy.console.metrics.server import serving
from deploy.monitor import nothing
from deploy.operate.status import SILENT_S
from streams.errors import ConfigError
from streams.hosts import Host
from streams.redis import Address
from tests.integration.join.operated import Make

ANY = Host("127.0.0.1", 0)


def get(at: Host, path: str) -> tuple[int, str]:
    connection = HTTPConnection(at.name, at.port, timeout=60)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def test_a_join_is_looked_at_whenever_it_is_asked_for(make: Make) -> None:
    world = make()
    world.predict(*range(10))
    world.report(*range(4))
    world.join(14)
    looks = Looks(world.path, world.settings, world.name)
    try:
        with serving(ANY, looks.metrics, looks.unwell) as at:
            assert f'shadowstream_join_joined_total{{feed="{world.name}"}} 4\n' in get(at, "/metrics")[1]
            world.report(4)
            world.join(1)
            status, told = get(at, "/metrics")
            assert (status, get(at, "/healthz")) == (200, (200, "ok\n"))
            assert f'shadowstream_join_joined_total{{feed="{world.name}"}} 5\n' in told
            assert f'shadowstream_up{{feed="{world.name}"}} 1\n' in told
            assert get(at, "/elsewhere")[0] == 404
    finally:
        looks.close()


def test_a_store_that_does_not_answer_is_told_and_ends_nothing(make: Make) -> None:
    world = make()
    gone = msgspec.structs.replace(world.settings, redis=Address(url="redis://127.0.0.1:1"))
    looks = Looks(world.path, gone, world.name)
    with serving(ANY, looks.metrics, looks.unwell) as at:
        for _ in range(2):
            assert get(at, "/metrics")[1].endswith(f'\nshadowstream_up{{feed="{world.name}"}} 0\n')
        status, why = get(at, "/healthz")
    assert status == 503
    assert "no store answers at redis://127.0.0.1:1" in why


def test_a_runs_own_look_grows_old() -> None:
    latest = Latest()
    with serving(ANY, latest.metrics, latest.unwell) as at:
        assert get(at, "/healthz") == (503, "no look has been taken yet\n")
        assert get(at, "/metrics") == (200, "")
        latest.show(nothing("flights"))
        assert get(at, "/healthz") == (200, "ok\n")
        latest._seen = nothing("flights"), time.monotonic() - SILENT_S - 1  # a run that hangs
        assert get(at, "/healthz")[0] == 503
        assert 'shadowstream_run_silent_seconds{feed="flights"} 11.' in get(at, "/metrics")[1]


def test_an_address_that_is_taken_or_wrong_is_refused() -> None:
    with (
        serving(ANY, str, str) as at,
        pytest.raises(ConfigError, match="cannot listen at"),
        fetched(f"{at.name}:{at.port}"),
    ):
        pass
    with fetched(None) as latest:
        assert latest.metrics() == ""
    for wrong in ("9464", "localhost", "a b:1"):
        with pytest.raises(ConfigError, match=r"metrics\.listen must be host:port, such as 127"):
            load(environment={"SHADOWSTREAM_METRICS_LISTEN": wrong})


def test_the_command_prints_one_look(
    make: Make, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make()
    world.predict(1)
    world.join(1)
    kafka, redis = world.settings.kafka.bootstrap or "", world.settings.redis.url or ""
    monkeypatch.setenv("SHADOWSTREAM_KAFKA_BOOTSTRAP", kafka)
    monkeypatch.setenv("SHADOWSTREAM_REDIS_URL", redis)
    monkeypatch.setattr("sys.argv", ["shadowstream", "metrics", str(world.path)])
    ended: Callable[[], None] = main
    with pytest.raises(SystemExit) as code:
        ended()
    assert code.value.code == 0
    assert f'shadowstream_join_waiting{{feed="{world.name}"}} 1\n' in capsys.readouterr().out
