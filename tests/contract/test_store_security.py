"""Connecting to a store: users, exactly the rights that we name, TLS; and no message shows a secret."""

import re
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from msgspec.structs import replace

import streams.join.store
from deploy.embedded.servers import free_port
from streams.errors import ConfigError, ShadowstreamError, StoreRefused
from streams.join.store import Store
from streams.redis import Address
from streams.redis.rights import READS, WRITES, commands, rule
from tests.contract.stores import CANNOT, TPS, Stage, join, look, pairs
from tests.services.certificates import Authority
from tests.services.redis import Cluster, Server

USER, SECRET = "joiner", "hunter2"
SCRIPTED = {*READS} - {"xrange", "xread"}  # called by scripts
UNSEEN = {"asking"}  # only where a slot moves; test_store.py has that, without rights


def without_secret(error: BaseException) -> str:
    """Return an error as a log shows it, after checking that it shows no secret."""
    assert SECRET not in "".join(traceback.format_exception(error))
    return str(error)


def refusal(at: Address, call: Callable[[Store], object] = Store.check) -> str:
    with pytest.raises(StoreRefused) as raised, closing(Store(at)) as store:
        call(store)
    return without_secret(raised.value)


@pytest.fixture
def user(stage: Stage) -> Iterator[Address]:
    """A user with exactly the rights that `rule` names."""
    cluster = isinstance(stage.place, Cluster)
    grant(stage, *rule(USER, cluster=cluster).split()[3:], f">{SECRET}")
    yield replace(stage.place.address, username=USER, password=SECRET)
    for node in stage.place.nodes:
        node.redis.acl_deluser(USER)


def grant(stage: Stage, *rules: str) -> None:
    for node in stage.place.nodes:
        node.run("ACL", "SETUSER", USER, *rules)


def everything(store: Store, feed: str) -> None:
    """Call everything that a store can do."""
    store.check()
    store.create(feed, 2, TPS)
    state = join(store, feed, 0, 5)
    store.read(feed, 0, "0-0", 9)
    store.wait(feed, {0: "0-0", 1: "0-0"}, 100)
    store.trim(feed, 0, state.last_id)
    store.waiting(feed, 0, 9)
    store.close_feed(feed, 0, "enough")
    store.notes(feed, 0)
    store.put(feed, {"a": b"1"})
    store.get(feed, "a")


def test_the_rights_that_we_name_suffice_and_none_is_too_many(stage: Stage, user: Address) -> None:
    cluster = isinstance(stage.place, Cluster)
    with closing(Store(user)) as store:
        everything(store, stage.feed(2))
    for command in sorted({*commands(cluster=cluster)} - UNSEEN):
        grant(stage, f"-{command}")
        if command == "eval":
            for node in stage.place.nodes:
                node.redis.script_flush()
        said = refusal(user, lambda store: everything(store, stage.feed(2)))
        grant(stage, f"+{command}")
        assert rule(USER, cluster=cluster) in said, f"{command}: {said}"
        if command not in SCRIPTED or "names" not in CANNOT[stage.name]:
            assert command in said.partition("; an administrator")[0].lower(), f"{command}: {said}"


def test_a_missing_right_to_a_key_is_named(stage: Stage, user: Address) -> None:
    grant(stage, "resetkeys", "~{other}:*")
    feed = stage.feed()
    for call in (lambda store: store.shard(feed, 0), lambda store: store.get(feed, "a")):
        assert "~{*}:*" in refusal(user, call)


@pytest.mark.parametrize("command", WRITES)
def test_a_right_that_is_taken_away_leaves_no_half_step(stage: Stage, user: Address, command: str) -> None:
    feed = stage.feed()
    step = pairs(stage.store.shard(feed, 0), 3)
    before = look(stage.store, feed, 0)
    redis = stage.place.node_of(feed, 0).redis
    grant(stage, f"-{command}")
    refusal(user, lambda store: store.step(feed, 0, step))
    assert (look(stage.store, feed, 0), redis.keys(f"{{{feed}.0}}:*")) == (before, [b"{%s.0}:m" % feed.encode()])
    grant(stage, f"+{command}")
    with closing(Store(user)) as store:
        assert store.step(feed, 0, step).seq == 3


def test_the_writes_that_are_checked_are_all_that_the_scripts_call() -> None:
    scripts = sorted(Path(str(streams.join.store.__file__)).parent.glob("*.lua"))
    text = "".join(path.read_text() for path in scripts)
    assert [path.stem for path in scripts] == ["add", "claim", "create", "join", "put", "trim"]
    called = {word.lower() for word in re.findall(r"(?:call|chunked)\('([A-Z]+)'", text)}
    reads = {*commands(cluster=False)} - {*WRITES}
    assert called - reads - {"publish"} == {*WRITES}  # put.lua asks itself whether it may publish


@pytest.mark.parametrize("wrong", [{"password": f"not {SECRET}"}, {"username": "nobody"}])
def test_a_user_who_is_not_known_is_refused(stage: Stage, user: Address, wrong: dict[str, str]) -> None:
    said = refusal(replace(user, **wrong))
    assert f"user {wrong.get('username', USER)!r} is refused" in said
    assert "check redis.username and redis.password" in said


def test_a_store_that_asks_for_a_user_refuses_none(stage: Stage, user: Address) -> None:
    for node in stage.place.nodes:
        node.redis.config_set("requirepass", SECRET)
    try:
        assert "user 'default' is refused" in refusal(stage.place.address)
    finally:
        for node in stage.place.nodes:
            node.run("CONFIG", "SET", "requirepass", "")


def test_a_wrong_kind_of_store_is_told(stage: Stage) -> None:
    at = stage.place.address
    said = refusal(replace(at, cluster=not at.cluster), lambda store: everything(store, stage.feed(2)))
    assert ("set redis.cluster = true" if at.cluster else "leave redis.cluster out") in said


class Secured(NamedTuple):
    """A server with TLS, the authority that signed its certificate, and another authority."""

    port: int
    ours: Authority
    other: Authority
    mine: Path
    named: int


@pytest.fixture(scope="module", params=["valkey", "redis"])
def secured(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """A server that asks for a certificate."""
    if "tls" in CANNOT[request.param]:
        pytest.skip(f"{request.param} {CANNOT[request.param]['tls']}")
    folder = tmp_path_factory.mktemp("tls")
    ours, other = Authority(folder, "ours"), Authority(folder, "other")
    yield from serve(request.param, folder, ours, other)


def serve(kind: str, folder: Path, ours: Authority, other: Authority) -> Iterator[Secured]:
    servers, ports = [], []
    for name, extensions in (("right", "subjectAltName=IP:127.0.0.1"), ("elsewhere", "subjectAltName=DNS:elsewhere")):
        pem, port = ours.sign(name, extensions=extensions), free_port()
        words = f"--tls-port {port} --tls-cert-file {pem} --tls-key-file {pem} --tls-ca-cert-file {ours.path}"
        servers.append(Server(kind, folder / name, *words.split()))
        ports.append(port)
    yield Secured(ports[0], ours, other, ours.sign("mine"), ports[1])
    for server in servers:
        server.stop()


def test_tls_with_certificates_of_both_sides(secured: Secured) -> None:
    mine = str(secured.mine)
    at = Address(
        url=f"rediss://127.0.0.1:{secured.port}",
        ssl_ca_certs=str(secured.ours.path), ssl_certfile=mine, ssl_keyfile=mine,
    )  # fmt: skip
    with closing(Store(at)) as store:
        store.check()
    theirs = str(secured.other.sign("theirs"))
    wrong = {
        "authority": replace(at, ssl_ca_certs=str(secured.other.path)),
        "system's": replace(at, ssl_ca_certs=None),
        "without": replace(at, ssl_certfile=None, ssl_keyfile=None),
        "stranger": replace(at, ssl_certfile=theirs, ssl_keyfile=theirs),
        "name": replace(at, url=f"rediss://127.0.0.1:{secured.named}"),
    }
    said = {name: refusal(one) for name, one in wrong.items()}
    assert [name for name, text in said.items() if "TLS failed; check redis.ssl_ca_certs" not in text] == [], said
    with closing(Store(replace(wrong["name"], ssl_check_hostname=False))) as store:
        store.check()


def test_a_file_that_holds_something_else_is_named(secured: Secured, tmp_path: Path) -> None:
    (tmp_path / "junk.pem").write_text("junk")
    junk, mine = str(tmp_path / "junk.pem"), str(secured.mine)
    at = Address(url=f"rediss://127.0.0.1:{secured.port}", ssl_certfile=mine, ssl_keyfile=mine)
    for wrong, key in (
        (replace(at, ssl_ca_certs=junk), "ssl_ca_certs"),
        (replace(at, ssl_keyfile=junk), "ssl_keyfile"),
    ):
        with pytest.raises(ConfigError, match=f"redis.{key}"):
            Store(wrong)


def checked(parts: dict[str, Any]) -> None:
    at = Address(**parts)
    assert SECRET not in repr(at)
    with closing(Store(at)) as store:
        store.check()


def test_no_secret_shows(stage: Stage) -> None:
    port = stage.place.nodes[0].port
    for parts in (
        {"url": f"redis://{USER}:{SECRET}@127.0.0.1:{port}"},
        {"url": f"redis://127.0.0.1:{port}", "username": USER, "password": SECRET},
        {"url": f"redis://127.0.0.1:{port}?username={USER}&password={SECRET}"},
        {"url": f"redis://{USER}:{SECRET}#@127.0.0.1:{port}"},
        {"url": f"redis://127.0.0.1:1?password={SECRET}"},
    ):
        with pytest.raises(ShadowstreamError) as raised:
            checked(parts)
        without_secret(raised.value)
