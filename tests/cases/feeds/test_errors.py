"""No third party's raw exception reaches a user: an error of ours, with its cause and without a password."""

import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from streams.errors import BrokerUnreachable, ConfigError, StoreUnreachable
from streams.join.store import Store
from streams.kafka import Sink, Source, Tp, ensure_topics
from streams.redis import Address
from tests.cases import case
from tests.cases.join import NOW, Join

SECRET = "hunter2"
CASE_18 = case("streams/18", "redis-py#1171", "redis-rs#517", "celery-once#135")
CLOSED = "127.0.0.1:1"


@pytest.fixture
def no_dns(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names that were asked for; none is resolved."""
    asked: list[str] = []

    def resolve(host: Any, *_: Any, **__: Any) -> Any:
        asked.append(str(host))
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return asked


@CASE_18
@pytest.mark.parametrize(
    "url",
    [
        "redis://:p@ss/word#1@127.0.0.1:6390/0",
        "redis://127.0.0.1:6390/0?ssl_cert_reqs=none",
        f"redis://:{SECRET}/@{CLOSED}/0",
        f"redis://:{SECRET}#@{CLOSED}/0",
        f"redis://:{SECRET}?@{CLOSED}/0",
        f"redis://:a@{SECRET}@{CLOSED}/0",
        f"redis://:{SECRET}[@{CLOSED}/0",
        f"rediss://{SECRET}/x@{CLOSED}",
        f"redis://{CLOSED}/0?socket_timeout={SECRET}",
        f"redis://{CLOSED}/{SECRET}",
        f"redis://{SECRET}..x",
    ],
)
@pytest.mark.parametrize("cluster", [False, True])
def test_a_url_that_is_not_one_is_the_same_error_as_others_and_is_not_sent_to_dns(
    url: str, cluster: bool, no_dns: list[str]
) -> None:
    with pytest.raises(ConfigError, match=r"redis\.url") as raised:
        Store(Address(url=url, cluster=cluster)).check()
    assert not no_dns
    assert SECRET not in str(raised.value)
    assert "ss/word" not in str(raised.value)


@CASE_18
def test_an_encoded_password_is_the_password() -> None:
    with pytest.raises(StoreUnreachable, match=r"no store answers at redis://\*\*\*@127\.0\.0\.1:1/0"):
        Store("redis://:p%40ss%2Fword%231@127.0.0.1:1/0").check()


@CASE_18
@pytest.mark.parametrize(
    "keys",
    [
        {"url": f"redis://:{SECRET}@{CLOSED}/0"},
        {"url": f"rediss://:{SECRET}@{CLOSED}/0"},
        {"url": f"redis://:{SECRET}@{CLOSED}", "cluster": True},
        {"url": "unix:///nowhere/socket"},
        {"url": "unix:///nowhere/socket?db=1", "password": SECRET},
        {"sentinel": f"{CLOSED}, 127.0.0.1:2", "sentinel_master": "m", "sentinel_password": SECRET, "password": SECRET},
    ],
)
def test_a_store_that_does_not_answer_is_one_line(keys: dict[str, Any]) -> None:
    with pytest.raises(StoreUnreachable, match="no store answers at ") as raised:
        Store(Address(**keys)).check()
    assert SECRET not in str(raised.value)
    assert str(raised.value).isprintable()
    assert "<" not in str(raised.value)
    assert len(str(raised.value)) < 300


@pytest.mark.parametrize(
    "use", [lambda: ensure_topics(CLOSED, {"a": 1}), lambda: Source(CLOSED, [Tp("a", 0)]), lambda: Sink(CLOSED)]
)
def test_a_broker_that_does_not_answer_is_one_line(use: Any) -> None:
    with pytest.raises(BrokerUnreachable, match=f"no Kafka broker answers at {CLOSED}") as raised:
        use()
    assert str(raised.value).isprintable()
    assert "Connection refused" in str(raised.value)
    assert not re.search("Kafka[A-Z]", str(raised.value))


CASE_19 = case("streams/19", "trame#21", "kopf#92", "faust-streaming#243")
BESIDE = """
from shadowstream import Feed, fields
from myschema import ID
feed = Feed(name="{name}", prediction=fields(id=ID, t="at"), outcome=fields(id=ID, t="at", label="y"))
"""


@CASE_19
def test_a_feed_imports_modules_beside_it_in_every_process(tmp_path: Path) -> None:
    (tmp_path / "myschema.py").write_text('ID = "ad"\n')
    with Join(tmp_path, "beside", '[output]\nto = "topic"\n', BESIDE) as join:
        join.publish(("predictions", {"ad": "a", "at": NOW}), ("outcomes", {"ad": "a", "at": NOW + 1, "y": 1}))
        join.publish(("outcomes", b"not JSON"))
        assert join.broker in join.said()
        assert join.store in join.said()
        assert join.settled(3)["joined"] == 1
        for command in (["audit", "feed.py", "--verify"], ["dead", "replay", "feed.py", "--reason", "JSON"]):
            ended = subprocess.run(
                [sys.executable, "-m", "deploy.cli.main", *command],
                cwd=tmp_path, env=join.environment, capture_output=True, text=True, check=False,
            )  # fmt: skip
            assert ended.returncode == 0, ended.stderr
