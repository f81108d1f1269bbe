"""A schema registry: what is requested of it, and the errors when it fails."""

import json as stdlib
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from streams.errors import ConfigError, MalformedEvent, Unreachable
from streams.formats.avro import avro
from streams.formats.fields import fields
from streams.formats.protobuf import protobuf
from streams.formats.registry import UNKNOWN_S, Known, Registry
from tests.clicks import CLICK, CLICKED, clicked, proto, record, written
from tests.services.certificates import Authority
from tests.services.registry_stub import RegistryStub, registry


def frame(number: int, value: bytes) -> bytes:
    return b"\0" + number.to_bytes(4, "big") + value


@pytest.fixture
def stub() -> Iterator[RegistryStub]:
    with registry() as running:
        yield running


class TestRegistry:
    def test_avro_with_an_import_of_an_import_is_asked_for_once(self, stub: RegistryStub) -> None:
        point, place, event = (
            {"type": "record", "name": name, "fields": [{"name": "x", "type": kind}]}
            for name, kind in (("Point", "long"), ("Place", "Point"), ("Event", "Place"))
        )
        stub.add(300, stdlib.dumps(event), references=(("Place", "a/place", 2),))
        stub.add(("a/place", 2), stdlib.dumps(place), references=(("Point", "point", 1),))
        stub.add(("point", 1), stdlib.dumps(point))
        read = fields(id="x.x.x", format=avro(registry=Registry(stub.url)))
        for _ in range(3):
            result = read(record(frame(300, b"\x0a")))
            assert (result.id, result.body) == ("5", b'{"x":{"x":{"x":5}}}')
        assert stub.asked == ["/schemas/ids/300", "/subjects/a%2Fplace/versions/2", "/subjects/point/versions/1"]

    def test_protobuf_by_the_path_to_its_message(self, stub: RegistryStub) -> None:
        stub.add(7, b64encode(proto().SerializeToString()).decode(), "PROTOBUF")
        read = fields(id="id", t="at", format=protobuf(registry=Registry(stub.url)))
        assert read(record(frame(7, b"\x04\x02\x00" + clicked()))).id == str(1 << 60)
        assert stub.asked == ["/schemas/ids/7?format=serialized"]
        for path, reason in (
            (b"\x04\x08\x00", "no message"),
            (b"\x80", "cut short"),
            (b"\x01", "steps"),
            (b"\x02\x01", "holds -1"),
            (b"\0", "id"),
        ):
            with pytest.raises(MalformedEvent, match=reason):
                read(record(frame(7, path + clicked() * (path == b"\0"))))

    def test_the_events_own_faults(self, stub: RegistryStub) -> None:
        stub.add(1, "syntax", "PROTOBUF")
        stub.add(2, '{"type":"record"}')
        read = fields(format=avro(registry=Registry(stub.url)))
        for value, reason in (
            (b"{}", "wire format"),
            (b"\0\0\0\0", "wire format"),
            (b"\1" + frame(1, b"")[1:], "wire format"),
            (frame(1, b""), "schema 1 is PROTOBUF, not AVRO"),
            (frame(2, b""), "not an Avro schema"),
            (frame(9, b""), "the registry has no schemas/ids/9"),
        ):
            with pytest.raises(MalformedEvent, match=reason):
                read(record(value))

    @pytest.mark.parametrize(
        "wrong",
        ["", "host", "ftp://host", "http://", "http://host:port", "http://host:99999", "http://[::1", "http://a..b",
         "http://host?x=1",
         "http://me:hunter2@host", "http://me:hunter2/x@host", "http://me:hunter2#@host",
         "http://h st", "http://host\n", None, 5],
    )  # fmt: skip
    def test_a_wrong_url_is_our_error_and_not_shown(self, wrong: Any) -> None:
        with pytest.raises(ConfigError, match="a registry's URL must be") as raised:
            Registry(wrong)
        assert "hunter2" not in str(raised.value)

    @pytest.mark.parametrize("wrong", ["hunter2\n", "", 7, "hunter2\udcff", "hunter2—"])
    def test_a_secret_that_no_header_can_carry_is_our_error(self, wrong: Any) -> None:
        with pytest.raises(ConfigError, match="a registry's token must be") as raised:
            Registry("http://127.0.0.1:1/path", token=wrong)
        assert "hunter2" not in str(raised.value)

    def test_an_address_where_nothing_or_something_else_answers(self) -> None:
        with pytest.raises(Unreachable, match=r"no schema registry answers at http://127\.0\.0\.1:1"):
            Registry("http://127.0.0.1:1").schema(1)

    def test_an_unknown_schema_is_asked_for_again_after_a_while(self) -> None:
        asked, now = list[int | str](), [0.0]

        def make(number: int | str) -> int:
            asked.append(number)
            raise MalformedEvent("none")

        known = Known(make, lambda: now[0])
        for time in (0.0, UNKNOWN_S - 1, UNKNOWN_S):
            now[0] = time
            with pytest.raises(MalformedEvent, match="none"):
                known(5)
        assert asked == [5, 5]

    @pytest.mark.parametrize("failing", [(500, b"{}"), (503, b""), (429, b"{}")])
    def test_a_registry_in_trouble_is_no_fault_of_the_event_and_may_come_back(
        self, stub: RegistryStub, failing: tuple[int, bytes]
    ) -> None:
        stub.add(1, stdlib.dumps(CLICK))
        read = fields(id="id", format=avro(registry=Registry(stub.url)))
        stub.failing = failing
        with pytest.raises(Unreachable, match=f"answers {failing[0]}"):
            read(record(frame(1, written(CLICK, CLICKED))))
        stub.failing = None
        assert read(record(frame(1, written(CLICK, CLICKED)))).id == "a"

    def test_nothing_there_is_unreachable(self) -> None:
        with registry() as gone:
            url = gone.url
        with pytest.raises(Unreachable, match="no schema registry answers"):
            Registry(url).schema(1)

    @pytest.mark.parametrize("failing", [(404, b"<html>"), (200, b"<html>"), (200, b"\xff"), (400, b"")])
    def test_what_is_no_registry(self, stub: RegistryStub, failing: tuple[int, bytes]) -> None:
        stub.failing = failing
        with pytest.raises(ConfigError, match="registry"):
            Registry(stub.url).schema(1)

    def test_users_and_tokens_are_sent_and_never_shown(self, stub: RegistryStub) -> None:
        stub.add(1, stdlib.dumps(CLICK))
        secret = "Shh-4711"
        for mine, sent in (
            ({"user": "me", "password": secret}, "Basic " + b64encode(f"me:{secret}".encode()).decode()),
            ({"token": secret}, f"Bearer {secret}"),
        ):
            client = Registry(stub.url, **mine)
            stub.authorization = sent
            assert client.schema(1).kind == "AVRO"
            stub.authorization = "another"
            with pytest.raises(ConfigError, match="refuses the user or token") as refused:
                client.schema(1)
            assert secret not in str(refused.value) + repr(refused.value) + repr(client)

    def test_tls_by_an_authority_of_ones_own(self, tmp_path: Path, stub: RegistryStub) -> None:
        ours, other = Authority(tmp_path, "ours"), Authority(tmp_path, "other")
        stub.secure(ours.sign("registry"))
        stub.add(1, stdlib.dumps(CLICK))
        assert Registry(stub.url, ca=ours.path).schema(1).kind == "AVRO"
        for ca in (other.path, None):
            with pytest.raises(ConfigError, match="does not vouch"):
                Registry(stub.url, ca=ca).schema(1)

    @pytest.mark.parametrize(
        ("url", "more"),
        [
            ("http://me:Shh-4711@host", {}),
            ("file:///schemas", {}),
            ("https://host?key=Shh-4711", {}),
            ("http://host", {"user": "me"}),
            ("http://host", {"user": "me", "password": "Shh-4711", "token": "Shh-4711"}),
            ("https://host", {"ca": "no/such.pem"}),
        ],
    )
    def test_what_cannot_be_is_refused_without_its_secret(self, url: str, more: dict[str, str]) -> None:
        with pytest.raises(ConfigError) as refused:
            Registry(url, **more)
        assert "Shh" not in str(refused.value)
