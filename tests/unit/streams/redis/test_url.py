"""The url of a store: read strictly, so that no part of a password is a host, a path or a question to DNS."""

from contextlib import suppress
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.errors import ConfigError
from streams.redis.url import Url, parse, redacted


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("redis://host", Url("redis", None, "host", 6379, "", 0)),
        ("redis://host:1/", Url("redis", None, "host", 1, "", 0)),
        ("redis://host:1/3", Url("redis", None, "host", 1, "", 3)),
        ("redis://host?db=4", Url("redis", None, "host", 6379, "", 4)),
        ("rediss://me:p%40ss%2Fword%231@host:1/0", Url("rediss", "me", "host", 1, "", 0)),
        ("redis://:p:q!$&'()*+,;=-._~@[::1]:1", Url("redis", "", "::1", 1, "", 0)),
        ("unix:///tmp/a%20socket", Url("unix", None, "", 0, "/tmp/a socket", 0)),
        ("unix://me:pass@/tmp/socket?db=2", Url("unix", "me", "", 0, "/tmp/socket", 2)),
    ],
)
def test_a_url_is_read(text: str, url: Url) -> None:
    assert parse(text) == url


@given(st.text(min_size=1, max_size=20))
def test_a_password_that_is_not_encoded_is_refused_or_is_the_same_one(password: str) -> None:
    encoded = f"redis://:{quote(password, safe='')}@127.0.0.1:1/0"
    assert parse(encoded) == Url("redis", "", "127.0.0.1", 1, "", 0)
    with suppress(ConfigError):
        url = parse(f"redis://:{password}@127.0.0.1:1/0")
        assert (url.host, url.port) == ("127.0.0.1", 1)


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("redis://host?ssl_cert_reqs=none", "only ?db=number: redis.ssl_ca_certs names"),
        ("redis://host?password=hunter2", "set redis.password"),
        ("rediss://host?db=1&ssl_keyfile=hunter2", "set redis.ssl_keyfile"),
        ("redis://host?socket_timeout=hunter2", "redis.url takes no socket_timeout, only ?db=number"),
        ("redis://host?db=hunter2", "written as %2F"),
        ("redis://host?hunter2", "written as %2F"),
        ("redis://host/hunter2", "written as %2F"),
        ("redis://host:1/0#hunter2", "written as %2F"),
        ("redis:///0", "written as %2F"),
        ("redis://hunter2/x@host", "written as %2F"),
        ("redis://1.2.3:1", "written as %2F"),
        ("unix://socket", "written as %2F"),
        ("unix:///" + "x" * 120, "at most 103 bytes, this one 121"),
        ("http://host", "redis.url must be redis://"),
        ("localhost:6379", "redis.url must be redis://"),
    ],
)
def test_a_wrong_url_says_what_would_be_right_and_shows_nothing(text: str, right: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse(text)
    assert right in str(raised.value)
    assert "hunter2" not in str(raised.value)


def test_a_url_is_shown_without_what_may_be_secret() -> None:
    assert redacted("redis://me:hunter2@host/1") == "redis://***@host/1"
    assert redacted("unix:///socket?db=3") == "unix:///socket"
    assert redacted("redis://host?password=hunter2") == "***"
