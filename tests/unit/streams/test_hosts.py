"""Host and port: what a client can resolve is read, all else is refused before anything is asked of DNS."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.hosts import MOST_SHOWN, Host, parse, shown


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("a:1", Host("a", 1)),
        ("kafka-1.svc.cluster.local:9092", Host("kafka-1.svc.cluster.local", 9092)),
        ("my_broker", Host("my_broker", None)),
        ("a.b.:65535", Host("a.b.", 65535)),
        ("127.0.0.1:1", Host("127.0.0.1", 1)),
        ("[::1]:9092", Host("::1", 9092)),
        ("[fe80::1%eth0]", Host("fe80::1%eth0", None)),
    ],
)
def test_an_address_is_read(text: str, host: Host) -> None:
    assert parse(text) == host


@pytest.mark.parametrize(
    "text",
    ["", ":1", "a:", "a:0", "a:65536", "a:123456", "a:b", "a b:1", "::1", "[::1", "[]:1", "[a]:1", "a..b:1",
     "-a:1", "a-:1", "é:1", "a/b:1", "me@a:1", "1.2.3:1", "999.1.1.1", "x" * 64, ".".join("x" * 60 for _ in range(5)),
     "a:1\n", "a:١"],
)  # fmt: skip
def test_what_is_no_address_is_refused(text: str) -> None:
    assert parse(text) is None


@given(st.text(string.ascii_letters + string.digits + ":[].@/-_ ", max_size=12))
def test_what_is_read_is_what_was_written(text: str) -> None:
    if host := parse(text):
        name = f"[{host.name}]" if ":" in host.name else host.name
        rest = text.removeprefix(name)
        assert rest == ("" if host.port is None else f":{rest[1:]}")
        assert host.port is None or int(rest[1:]) == host.port


def test_a_wrong_value_is_shown_short_and_without_what_may_be_secret() -> None:
    assert shown("kafka://host:1") == "'kafka://host:1'"
    assert shown("a\nb") == "'a\\nb'"
    assert len(shown("x" * 10_000)) < MOST_SHOWN + 30
    for secret in ("redis://:hunter2@host", "hunter2#host", "host?password=hunter2", "host&passwd=hunter2"):
        assert "hunter2" not in shown(secret)
