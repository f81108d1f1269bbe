"""Each setting, in the file and in the environment, with every kind of wrong value: errors of ours, in one line."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.config import KEYS, PREFIX, Settings, load
from streams.errors import ConfigError
from streams.join.store import Store
from streams.kafka import connection

LONGEST = 500  # characters of a message, the path of the file included
SECRET = "hunter2"
TEXTS = (
    " ", "text", "two words", "-1", "0", "1.5", "1e400", "nan", "-inf", "9" * 40, "true", "[1]", "a:b:c", "host:99999",
    "http://host:1", "/", "host:1,,host:2", "::1", "line\nbreak", "bell\x07", "\x00", "é:1", "x" * 100_000,
    "{pipeline}",
    f"redis://:{SECRET}/#?@127.0.0.1:1", f"redis://me:{SECRET}@ss@127.0.0.1:1/0", f"rediss://:{SECRET}[@127.0.0.1:1",
    f"redis://127.0.0.1:1/0?ssl_cert_reqs=none&password={SECRET}", f"redis://:{SECRET}@127.0.0.1:1/zero",
    f"kafka://me:{SECRET}@127.0.0.1:1", f"http://me:{SECRET}@127.0.0.1:1", f"redis://:{SECRET}@127.0.0.1:1/0",
)  # fmt: skip
NOT_TEXT = ("-1", "0", "1.5", "inf", "nan", "true", "1e308", "10" * 30, "[1]", "{ a = 1 }", "[[], {}]", "1979-05-27")
SETTINGS = [(section, key) for section, keys in KEYS.items() for key in keys]


def in_file(section: str, key: str) -> Iterator[str]:
    """Return the text of files that set a key to a wrong value."""
    for value in (*NOT_TEXT, *(json.dumps(text) for text in TEXTS)):
        yield f"[{section}]\n{key} = {value}\n"


def use(settings: Settings) -> None:
    """Do with settings what comes first of all, as far as it needs no server."""
    if settings.kafka.bootstrap is not None:
        connection.settings(settings.kafka)
    if not settings.redis.embedded and not settings.redis.cluster:
        Store(settings.redis).close()
    settings.topics.named("feed")


def refusal(path: Path | None, environment: dict[str, str]) -> str | None:
    """Return the text of our error; None where the value is accepted. Any other error fails the test."""
    try:
        use(load(path, environment))
    except ConfigError as wrong:
        return str(wrong)
    return None


@pytest.mark.parametrize(("section", "key"), SETTINGS)
def test_a_wrong_value_is_an_error_of_ours_in_one_line(section: str, key: str, tmp_path: Path) -> None:
    path, refused = tmp_path / "shadowstream.toml", 0
    variable = f"{PREFIX}_{section}_{key}".upper()
    sources: list[tuple[str | None, dict[str, str]]] = [(text, {}) for text in in_file(section, key)]
    sources += [(None, {variable: text}) for text in (*TEXTS, *NOT_TEXT, "\udcff", f"redis://:{SECRET}@\udcff")]
    for text, environment in sources:
        if text is not None:
            path.write_text(text, encoding="utf-8", errors="surrogateescape")
        message = refusal(None if text is None else path, environment)
        if message is not None:
            refused += 1
            assert message.isprintable(), message
            assert len(message) <= LONGEST, message
            assert SECRET not in message, message
            assert f"{section}.{key}" in message or (text and "TOML" in message) or section == "redis", message
    assert refused >= 20


@pytest.mark.parametrize(
    "text",
    [
        "a = " + "[" * 20_000,
        '"a\\nb" = 1',
        f'"{"x" * 5_000}" = 1',
        f'[redis]\n"{"y" * 5_000}" = "{SECRET}"',
        "[join]\nwindow_s = " + "1" * 5_000,
        "[join]\nmost_outcomes = 0x" + "f" * 6_000,
        "\ufeff[kafka",
        "[join",
    ],
)
def test_a_file_that_is_wrong_is_an_error_of_ours_in_one_line(text: str, tmp_path: Path) -> None:
    path = tmp_path / "shadowstream.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as raised:
        load(path, {})
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) <= LONGEST
    assert SECRET not in str(raised.value)


STRANGE = [
    "~/.shadowstream",
    "s3:/b/x",
    "s3://",
    "s3:///x",
    "s3://b/x?a=b",
    "http://h/b",
    "file:///tmp/x",
    " ",
    " s",
    "s\t",
]


@pytest.mark.parametrize("path", STRANGE)
@pytest.mark.parametrize("section", ["registry", "output"])
def test_a_path_that_would_be_a_strange_folder_is_refused(section: str, path: str) -> None:
    said = refusal(None, {f"{PREFIX}_{section}_PATH".upper(): path})
    assert said is not None
    assert f"{section}.path" in said


@pytest.mark.parametrize("path", ["s3://bucket", "s3://bucket/x/", "gs://models/live", "az://models/live", "/var/x"])
def test_a_registry_is_a_folder_or_in_a_bucket(path: str) -> None:
    assert load(None, {f"{PREFIX}_REGISTRY_PATH": path}).registry.path == path
    if "//" in path:
        assert refusal(None, {f"{PREFIX}_OUTPUT_PATH": path})


def test_credentials_in_an_address_are_refused_and_not_shown() -> None:
    said = refusal(None, {f"{PREFIX}_REGISTRY_PATH": f"s3://key:{SECRET}@bucket/x"})
    assert said is not None
    assert SECRET not in said


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_what_other_machines_editors_write_is_read(mark: str, end: str, tmp_path: Path) -> None:
    path = tmp_path / "shadowstream.toml"
    path.write_bytes(f"{mark}[join]{end}window_s = 5{end}".encode())
    assert load(path, {}).join.window_s == 5


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "cp1252"])
def test_a_file_in_another_encoding_is_told_so(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "shadowstream.toml"
    path.write_bytes("# é\n[join]\n".encode(encoding))
    assert "save it as UTF-8" in (refusal(path, {}) or "")


@pytest.mark.parametrize(
    ("key", "right"), [("redis.user", "redis.username"), ("join.WINDOW_S", "join.window_s"), ("Kafka.x", "kafka")]
)
def test_an_unknown_key_is_told_the_one_that_is_meant(key: str, right: str, tmp_path: Path) -> None:
    path = tmp_path / "shadowstream.toml"
    path.write_text(f"{key} = 1\n")
    assert f"did you mean '{right}'" in (refusal(path, {}) or "")
