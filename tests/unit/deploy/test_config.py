"""The settings: defaults, the file, the environment over it, and an error for everything else, naming where it is."""

import io
import traceback
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from deploy.config import KEYS, Settings, load
from streams.errors import ConfigError
from streams.redis import redacted

SECRET = "hunter2"


def write(folder: Path, text: str) -> Path:
    path = folder / "shadowstream.toml"
    path.write_text(text)
    return path


def refusal(path: Path | None, environment: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigError) as raised:
        load(path, environment or {})
    return str(raised.value)


def test_without_a_file_all_is_embedded_and_has_its_default() -> None:
    settings = load(None, {})
    assert settings == Settings()
    assert (settings.kafka.bootstrap, settings.redis.url, settings.ray.address) == (None, None, None)
    assert settings.registry.path == ".shadowstream"
    assert (settings.learn.commit_samples, settings.learn.commit_s) == (1_024, 1.0)
    assert settings.serve.engines
    assert (settings.serve.max_batch, settings.replay.lead_s, settings.topics.partitions) == (512, 3_600.0, 1)


def test_a_file_sets_keys_and_leaves_the_others(tmp_path: Path) -> None:
    path = write(
        tmp_path, '[kafka]\nbootstrap = "a:1,b:2"\n[join]\nwindow_s = 60\nshards = 2\n[topics]\ndead = "bin"\n'
    )
    settings = load(path, {})
    assert settings.kafka.bootstrap == "a:1,b:2"
    assert (settings.join.window_s, settings.join.shards, settings.join.keep_s) == (60.0, 2, 7 * 86_400)
    assert settings.topics.named("flights").requests == "flights.requests"
    assert settings.topics.named("flights").dead == "bin"
    assert settings.topics.named("flights").partitions == 1


def test_the_environment_wins_and_an_empty_variable_does_not_count(tmp_path: Path) -> None:
    path = write(tmp_path, '[kafka]\nbootstrap = "a:1"\n[learn]\ncommit_s = 2\n[serve]\nmax_batch = 7\n')
    environment = {
        "SHADOWSTREAM_KAFKA_BOOTSTRAP": "b:2",
        "SHADOWSTREAM_LEARN_COMMIT_S": "0.25",
        "SHADOWSTREAM_SERVE_MAX_BATCH": "",
        "SHADOWSTREAM_REDIS_PORT": "tcp://10.0.0.1:6379",  # Kubernetes' own, for a service of that name
    }
    settings = load(path, environment)
    assert settings.kafka.bootstrap == "b:2"
    assert settings.learn.commit_s == 0.25
    assert settings.serve.max_batch == 7


WORDS = {
    "on_contradiction": "stop",
    "emit": "at_close",
    "absent": "negative",
    "reduce": "first",
    "late": "count",
    "to": "topic",
    "labels": "json",
}
WORDS |= {"engines": "false", "on_contradiction": "stop"}
WORDS |= {"embedded": "durable", "insecure": "true", "shared": "true", "roles": "{}"}
WORDS |= {"bootstrap": "host:4096", "address": "host:4096", "listen": "host:4096"}
SASL = {"security_protocol": "SASL_SSL", "sasl_mechanism": "PLAIN", "sasl_username": "joiner", "sasl_password": SECRET}
SECURITY = SASL | {"ssl_cafile": __file__, "ssl_certfile": __file__, "ssl_keyfile": __file__, "ssl_password": SECRET}
SECURITY |= {"ssl_check_hostname": "false"}  # keys of [kafka] that are refused alone
FILES = {"ssl_ca_certs": __file__, "ssl_certfile": __file__, "ssl_keyfile": __file__, "ssl_check_hostname": "false"}
NODE = {"url": "rediss://host", "username": "joiner", "password": SECRET, "cluster": "true"} | FILES
SENTINEL = {"sentinel": "a:1, b:2", "sentinel_master": "m", "sentinel_username": "s", "sentinel_password": SECRET}
TOGETHER = {"kafka": [SECURITY], "redis": [NODE, SENTINEL]}


@given(st.data())
def test_every_key_is_a_variable_too(data: st.DataObject) -> None:
    section = data.draw(st.sampled_from(sorted(KEYS)))
    key = data.draw(st.sampled_from(sorted(KEYS[section])))
    text = WORDS.get(key, "4096")
    variables = next((keys for keys in TOGETHER.get(section, []) if key in keys), {key: text})
    settings = load(None, {f"SHADOWSTREAM_{section}_{name}".upper(): value for name, value in variables.items()})
    assert str(getattr(getattr(settings, section), key)) in (
        variables[key],
        variables[key] + ".0",
        variables[key].title(),
    )
    assert msgspec.structs.replace(settings, **{section: getattr(Settings(), section)}) == Settings()


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("[kafak]\n", ["unknown key 'kafak'", "'kafka'"]),
        ('[kafka]\nbootstap = "a"\n', ["unknown key 'kafka.bootstap'", "'kafka.bootstrap'"]),
        ('bootstrap = "a"\n', ["unknown key 'bootstrap'", "'kafka.bootstrap'"]),
        ("[join]\nwindow = 3\n", ["unknown key 'join.window'", "'join.window_s'"]),
        ("[serve]\ncommit_samples = 3\n", ["unknown key 'serve.commit_samples'", "'learn.commit_samples'"]),
        ("[learn.commit]\nsamples = 3\n", ["unknown key 'learn.commit'", "'learn.commit_s'"]),
        ("kafka = 3\n", ["'kafka' must be a table, [kafka]", "found 3"]),
        ('[topics]\npartitions = "two"\n', ["topics.partitions", "`int`", "`str`", "'two'"]),
        ("[topics]\npartitions = 1.5\n", ["topics.partitions", "`int`", "`float`", "1.5"]),
        ("[topics]\npartitions = 0\n", ["topics.partitions", ">= 1", "found 0"]),
        ("[topics]\nrequests = ''\n", ["topics.requests", "length >= 1", "found ''"]),
        ("[learn]\ncommit_s = true\n", ["learn.commit_s", "`float`", "`bool`", "True"]),
        ("[learn]\ncommit_s = 0.0\n", ["learn.commit_s", "> 0", "found 0.0"]),
        ("[replay]\nlead_s = -1\n", ["replay.lead_s", ">= 0", "found -1"]),
        ("[join]\nwindow_s = inf\n", ["join.window_s", "a finite number", "found inf"]),
        ("[join]\nshards = 0\n", ["join.shards", "at least 1", "got 0"]),
        ("[join]\nwindow_s = 0\n", ["join.window_s", "at least 0.001", "got 0"]),
        ("[join]\nreduce = 'mean'\n", ["join.reduce: must be one of 'first', 'last', 'sum', 'list'; found 'mean'"]),
        ("[output]\nlabels = 'text'\n", ["output.labels: must be one of 'number', 'json'; found 'text'"]),
        ("[kafka]\nbootstrap = ['a', 'b']\n", ["kafka.bootstrap", "`str | null`", "`array`", "['a', 'b']"]),
        ("[kafka]\n\nbootstrap = a:1\n", ["not TOML", "line 3"]),
        ("[kafka]\n[kafka]\n", ["not TOML", "line 2"]),
    ],
)
def test_a_wrong_file_is_reported_with_where_and_what_would_be_right(
    tmp_path: Path, text: str, parts: list[str]
) -> None:
    path = write(tmp_path, text)
    message = refusal(path)
    assert message.startswith(f"{path}: ")
    assert [part for part in parts if part not in message] == [], message


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    assert refusal(tmp_path / "absent.toml") == f"no such file: {tmp_path / 'absent.toml'}"
    assert str(tmp_path) in refusal(tmp_path)
    (tmp_path / "latin.toml").write_bytes(b"# caf\xe9\n")
    assert "latin.toml: not TOML" in refusal(tmp_path / "latin.toml")


@pytest.mark.parametrize(
    ("variable", "value", "part"),
    [
        ("SHADOWSTREAM_TOPICS_PARTITIONS", "two", "`int`"),
        ("SHADOWSTREAM_TOPICS_PARTITIONS", "0", ">= 1"),
        ("SHADOWSTREAM_LEARN_COMMIT_S", "nan", "learn.commit_s"),
        ("SHADOWSTREAM_JOIN_KEEP_S", "1 day", "`float`"),
    ],
)
def test_a_wrong_variable_is_the_same_error(variable: str, value: str, part: str) -> None:
    message = refusal(None, {variable: value})
    assert variable in message
    assert part in message
    assert value in message


def test_the_store_needs_a_redis_address(tmp_path: Path) -> None:
    assert "redis.url must be redis://" in refusal(write(tmp_path, '[redis]\nurl = "localhost:6379"\n'))


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"redis://:{SECRET}@host:6379/0", "redis://***@host:6379/0"),
        (f"rediss://user:{SECRET}@host", "rediss://***@host"),
        (f"redis://user:{SECRET}%40b%2Fc%23d@host/1", "redis://***@host/1"),
        (f"unix://:{SECRET}@/socket?db=3", "unix://***@/socket"),
        ("redis://host:6379/0", "redis://host:6379/0"),
    ],
)
def test_a_password_never_shows(url: str, shown: str) -> None:
    settings = load(None, {"SHADOWSTREAM_REDIS_URL": url})
    assert settings.redis.url == url
    assert redacted(url) == shown
    console = Console(file=io.StringIO(), width=1_000)
    console.print(settings)
    assert isinstance(console.file, io.StringIO)
    for text in (repr(settings), str(settings.redis), console.file.getvalue()):
        assert SECRET not in text
        assert f"'{shown}'" in text


@pytest.mark.parametrize(
    "text",
    [
        f'redis = "redis://:{SECRET}@host"\n',
        f'[redis]\nurl = ["redis://:{SECRET}@host"]\n',
        f'[redis]\nurl = "http://:{SECRET}@host"\n',
        f'[redis]\npassword = "{SECRET}"\n',
        f'[redis]\nurl = "redis://:{SECRET}@host\n',
    ],
)
def test_a_password_never_shows_in_an_error(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load(write(tmp_path, text), {})
    assert SECRET not in "".join(traceback.format_exception(raised.value))
    assert SECRET not in refusal(None, {"SHADOWSTREAM_REDIS_URL": SECRET})


@pytest.mark.parametrize(
    ("keys", "parts"),
    [
        ({"sasl_username": "joiner"}, ["kafka.sasl_username needs", "'SASL_SSL' or 'SASL_PLAINTEXT'", "'PLAINTEXT'"]),
        (SASL | {"security_protocol": "SSL"}, ["kafka.sasl_mechanism needs", "'SASL_SSL'", "it is 'SSL'"]),
        ({"security_protocol": "SASL_SSL"}, ["kafka.sasl_mechanism", "kafka.sasl_username", "kafka.sasl_password"]),
        (SASL | {"sasl_mechanism": ""}, ["'SASL_SSL' needs kafka.sasl_mechanism"]),
        (SASL | {"sasl_mechanism": "GSSAPI"}, ["kafka.sasl_mechanism", "'GSSAPI'"]),
        ({"ssl_cafile": __file__}, ["kafka.ssl_cafile needs", "'SSL' or 'SASL_SSL'"]),
        ({"ssl_check_hostname": "false"}, ["kafka.ssl_check_hostname needs", "'SSL' or 'SASL_SSL'"]),
        ({"security_protocol": "SSL", "ssl_cafile": "/none.pem"}, ["kafka.ssl_cafile must be a file", "'/none.pem'"]),
        ({"security_protocol": "SSL", "ssl_password": SECRET}, ["kafka.ssl_password needs kafka.ssl_certfile"]),
        ({"security_protocol": "TLS"}, ["kafka.security_protocol", "'TLS'"]),
    ],
)
def test_contradictions_of_the_broker_s_security_are_reported(keys: dict[str, str], parts: list[str]) -> None:
    message = refusal(None, {f"SHADOWSTREAM_KAFKA_{key}".upper(): value for key, value in keys.items()})
    assert [part for part in parts if part not in message] == [], message
    assert SECRET not in message


def test_a_broker_s_password_never_shows(tmp_path: Path) -> None:
    settings = load(None, {f"SHADOWSTREAM_KAFKA_{key}".upper(): value for key, value in SECURITY.items()})
    assert (settings.kafka.sasl_password, settings.kafka.ssl_password) == (SECRET, SECRET)
    console = Console(file=io.StringIO(), width=1_000)
    console.print(settings)
    assert isinstance(console.file, io.StringIO)
    for text in (repr(settings), str(settings.kafka), console.file.getvalue()):
        assert SECRET not in text
        assert "sasl_password='***'" in text
    for wrong in (f'sasl_password = ["{SECRET}"]', f'ssl_password = {{ a = "{SECRET}" }}'):
        with pytest.raises(ConfigError) as raised:
            load(write(tmp_path, f"[kafka]\n{wrong}\n"), {})
        assert SECRET not in "".join(traceback.format_exception(raised.value))


@pytest.mark.parametrize(
    ("keys", "parts"),
    [
        ({"url": "redis://host", "username": "a"}, ["redis.username needs redis.password"]),
        ({"url": f"redis://a:{SECRET}@host", "password": SECRET}, ["redis.url already has a user in it"]),
        ({"password": SECRET}, ["redis.password needs redis.url or redis.sentinel"]),
        ({"url": "redis://host", "ssl_ca_certs": __file__}, ["redis.ssl_ca_certs needs redis.url = rediss://"]),
        ({"url": "redis://host", "ssl_check_hostname": "no"}, ["`bool`"]),
        ({"url": "redis://host", "ssl_check_hostname": "false"}, ["redis.ssl_check_hostname needs", "rediss://"]),
        ({"url": "rediss://host", "ssl_ca_certs": "/none.pem"}, ["redis.ssl_ca_certs must be a file", "'/none.pem'"]),
        ({"url": "rediss://host", "ssl_certfile": __file__}, ["redis.ssl_certfile needs redis.ssl_keyfile"]),
        ({"url": "rediss://host", "ssl_keyfile": __file__}, ["redis.ssl_keyfile needs redis.ssl_certfile"]),
        ({"sentinel": "a:1"}, ["redis.sentinel needs redis.sentinel_master"]),
        ({"sentinel_master": "m"}, ["redis.sentinel_master needs redis.sentinel"]),
        ({"sentinel_password": SECRET}, ["redis.sentinel_password needs redis.sentinel"]),
        (SENTINEL | {"url": "redis://host"}, ["redis.url and redis.sentinel both"]),
        (SENTINEL | {"sentinel": "a:1,b"}, ["host:port, several with commas", "'a:1,b'"]),
        (SENTINEL | {"cluster": "true"}, ["redis.cluster needs redis.url"]),
        ({"cluster": "true"}, ["redis.cluster needs redis.url"]),
        ({"cluster": "true", "url": "redis://host/1"}, ["redis.cluster needs", "no database but 0"]),
        ({"cluster": "true", "url": "unix:///socket"}, ["redis.cluster needs", "redis://host:port"]),
    ],
)
def test_contradictions_of_the_store_s_connection_are_reported(keys: dict[str, str], parts: list[str]) -> None:
    message = refusal(None, {f"SHADOWSTREAM_REDIS_{key}".upper(): value for key, value in keys.items()})
    assert [part for part in parts if part not in message] == [], message
    assert SECRET not in message


@pytest.mark.parametrize("keys", [NODE, SENTINEL | {"username": "joiner", "password": SECRET}])
def test_a_store_s_passwords_never_show(keys: dict[str, str]) -> None:
    settings = load(None, {f"SHADOWSTREAM_REDIS_{key}".upper(): value for key, value in keys.items()})
    assert settings.redis.password == SECRET
    assert not settings.redis.embedded
    console = Console(file=io.StringIO(), width=1_000)
    console.print(settings)
    assert isinstance(console.file, io.StringIO)
    for text in (repr(settings), str(settings.redis), settings.redis.shown, console.file.getvalue()):
        assert SECRET not in text
    assert "password='***'" in repr(settings)
