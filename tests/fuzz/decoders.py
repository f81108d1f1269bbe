"""A coverage-guided fuzz target over every decoder: `python tests/fuzz/decoders.py -max_total_time=60`.

Needs atheris, which no test does. The first byte of an input names the format; the rest is a record's value.
"""

import sys

import atheris

with atheris.instrument_imports(include=["streams", "fastavro", "google.protobuf"]):
    from tests.property.test_decoders import FORMATS, check

NAMES = sorted(FORMATS)


def one(data: bytes) -> None:
    if data:
        check(NAMES[data[0] % len(NAMES)], data[1:])


if __name__ == "__main__":
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
