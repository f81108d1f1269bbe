"""The files that a Protobuf schema may import without a reference, because compilers and serializers bring them along.

Owns where these come from: the package protobuf (google/protobuf/), googleapis-common-protos where it is installed
(google/type/ and others), and Confluent's own, by what they define. Does not know registries.
"""

import re
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from google.protobuf import descriptor_pb2

SHIPPED = re.compile(r"google/(?:protobuf|type|rpc|api|logging/type|longrunning)/[a-z0-9_]+\.proto")
DECIMAL = "confluent/type/decimal.proto"
OPTIONS_ONLY = "confluent/meta.proto"  # what it defines stands in options, which do not change how bytes are read
OF_A_DECIMAL = {"value": "TYPE_BYTES", "precision": "TYPE_UINT32", "scale": "TYPE_INT32"}


def provide(pool: Any, file: Any) -> Iterator[str]:
    """Add to a pool what a file imports and the pool does not have; yield the names of those that nobody brings.

    In the pool these are empty: where only options need them, nothing is lost.
    """
    for name in file.dependency:
        try:
            pool.FindFileByName(name)
        except KeyError:
            if (imported := _shipped(name)) is None:
                yield name
                imported = descriptor_pb2.FileDescriptorProto(name=name)
            yield from provide(pool, imported)
            pool.Add(imported)


def _shipped(name: str) -> Any:
    """Return the descriptor of a file that is brought along; None where it is not."""
    if name == OPTIONS_ONLY:
        return descriptor_pb2.FileDescriptorProto(name=name)
    if name == DECIMAL:
        return _decimal()
    if not SHIPPED.fullmatch(name):
        return None
    try:
        module = import_module(name.removesuffix(".proto").replace("/", ".") + "_pb2")
    except ModuleNotFoundError:
        return None
    return descriptor_pb2.FileDescriptorProto.FromString(module.DESCRIPTOR.serialized_pb)


def _decimal() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name=DECIMAL, package="confluent.type", syntax="proto3")
    of = file.message_type.add(name="Decimal").field
    for number, (name, kind) in enumerate(OF_A_DECIMAL.items(), 1):
        of.add(name=name, number=number, type=kind, label="LABEL_OPTIONAL")
    return file


def why(missing: list[str], wrong: Exception) -> str:
    """Return why a schema cannot be used that imports files which nobody brings."""
    google = any(name.startswith("google/") for name in missing)
    install = "; pip install googleapis-common-protos brings those of google/" if google else ""
    return f"it imports {', '.join(missing)}, of which the registry has no reference{install}: {wrong}"
