"""Protobuf schemas that import what compilers bring along, without a reference in the registry."""

import json
from base64 import b64encode
from decimal import Decimal
from typing import Any

import pytest
from google.protobuf import descriptor_pb2

from shadowstream import fields
from streams.errors import MalformedEvent
from streams.formats.protobuf import protobuf
from streams.formats.registry import Registry
from tests.cases import case
from tests.cases.formats.test_frames import frame
from tests.clicks import record
from tests.services.registry_stub import registry

K = descriptor_pb2.FieldDescriptorProto
DECIMAL = "confluent/type/decimal.proto"


def importing(*names: str, kind: str = "") -> Any:
    """Return a file that imports others, with a message {id, v} whose v is of one of their types."""
    file = descriptor_pb2.FileDescriptorProto(name="shop.proto", package="shop", syntax="proto3")
    file.dependency.extend(names)
    event = file.message_type.add(name="E").field
    event.add(name="id", number=1, type=K.TYPE_STRING, label=K.LABEL_OPTIONAL)
    if kind:
        event.add(name="v", number=2, type=K.TYPE_MESSAGE, type_name=kind, label=K.LABEL_OPTIONAL)
    return file


def read(file: Any, value: bytes) -> Any:
    with registry() as stub:
        stub.add(1, b64encode(file.SerializeToString()).decode(), "PROTOBUF")
        event = fields(id="id", format=protobuf(registry=Registry(stub.url)))(record(frame(1, b"\0" + value)))
    return json.loads(event.body, parse_float=Decimal)


def within(number: int, value: bytes) -> bytes:
    return bytes([number << 3 | 2, len(value)]) + value


NAMED = within(1, b"a")


@case("streams/05", "protobuf#6933")
@pytest.mark.parametrize(
    "names",
    [
        ["google/protobuf/descriptor.proto"],
        ["google/protobuf/api.proto", "google/protobuf/timestamp.proto"],
        ["confluent/meta.proto", DECIMAL],
        ["google/api/field_behavior.proto", "our/options.proto"],
    ],
)
def test_what_only_options_need_is_not_missed(names: list[str]) -> None:
    assert read(importing(*names), NAMED) == {"id": "a"}


@case("streams/05", "protobuf#6933")
@pytest.mark.parametrize(
    ("name", "kind", "stored", "plain"),
    [
        (DECIMAL, ".confluent.type.Decimal", within(1, b"\x01\xf4") + b"\x18\x02", Decimal("5.00")),
        (DECIMAL, ".confluent.type.Decimal", within(1, b"\xff") + b"\x10\x05", -1),
        ("google/protobuf/source_context.proto", ".google.protobuf.SourceContext", within(1, b"x"), {"file_name": "x"}),
        ("google/protobuf/type.proto", ".google.protobuf.Option", within(1, b"x"), {"name": "x"}),
    ],
)
def test_types_that_are_brought_along_are_read(name: str, kind: str, stored: bytes, plain: Any) -> None:
    assert read(importing(name, kind=kind), NAMED + within(2, stored)) == {"id": "a", "v": plain}


def test_an_option_of_our_own_beside_descriptor_proto() -> None:
    file = importing("google/protobuf/descriptor.proto")
    file.extension.add(
        name="pii", number=50_000, type=K.TYPE_BOOL, label=K.LABEL_OPTIONAL, extendee=".google.protobuf.FieldOptions"
    )
    assert read(file, NAMED) == {"id": "a"}


@pytest.mark.parametrize(
    ("name", "kind", "reason"),
    [
        (
            "google/type/nothing.proto",
            ".google.type.Nothing",
            "schema 1 cannot be read: it imports google/type/nothing.proto, of which the registry has no reference; "
            "pip install googleapis-common-protos brings",
        ),
        ("our/money.proto", ".our.Money", "imports our/money.proto, of which the registry has no reference: "),
        ("os/path.proto", ".os.Path", "imports os/path.proto"),
    ],
)
def test_a_type_that_nobody_brings_is_named_with_its_file(name: str, kind: str, reason: str) -> None:
    with pytest.raises(MalformedEvent, match=reason):
        read(importing(name, kind=kind), NAMED)
