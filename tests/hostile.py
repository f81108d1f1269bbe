"""Hostile events by a seed: what a broken or malicious sender could put into a feed of JSON events.

Each kind says what must become of it: refused (one dead letter), or read as the odd but well-formed event that it is.
The events of both topics have the fields `id`, `at` (ms) and `x`, which is an outcome's label.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import NamedTuple

BIG_BYTES = 10_000_000
HUGE, DEEPEST, DIGITS = LARGE = "huge string", "deepest nesting", "huge digits"
OLD = "1970"
RARELY = 0.05  # how often one of the large ones is made, to once for each other kind
DEEP = 100_000
YEAR_2100_MS = 4_102_444_800_000
SEED_MS = 1_360_000_000_000


class Hostile(NamedTuple):
    """A value, its kind of attack, and whether it must be refused; `id` is its id if it must be read."""

    kind: str
    value: bytes | None
    refused: bool
    id: str = ""


Kind = Callable[[Random, str, int], Hostile]


def hostile(
    rng: Random, number: int, big_bytes: int = BIG_BYTES, kinds: Sequence[str] = (), rarely: float = RARELY
) -> Hostile:
    """Make the `number`th hostile event, of any kind or one of `kinds`; strings are at most `big_bytes` long."""
    among = kinds or tuple(KINDS)
    (kind,) = rng.choices(among, [rarely if kind in LARGE else 1 for kind in among])
    return KINDS[kind](rng, f"evil-{number}", big_bytes)._replace(kind=kind)


def mixed(
    rng: Random, good: int, evil: int, big_bytes: int = BIG_BYTES, rarely: float = RARELY
) -> Iterator[tuple[bool, Hostile]]:
    """Yield (whether it is an outcome, event) of a feed: `good` pairs, of kind "", and `evil` events between them.

    What must be refused goes to either topic; what must be read has its outcome, and its pair joins if it is on time.
    """
    order = [True] * good + [False] * evil
    rng.shuffle(order)
    for number, fine in enumerate(order):
        at = SEED_MS + number
        made = (
            Hostile("", event(f"good-{number}", at), False, f"good-{number}")
            if fine
            else hostile(rng, number, big_bytes, rarely=rarely)
        )
        if made.refused:
            yield rng.random() < 0.5, made
            continue
        yield False, made
        yield True, made._replace(value=event(made.id, json.loads(made.value or b"")["at"] + 1, number % 2))


def event(id: object = "evil", at: object = SEED_MS, x: object = 1) -> bytes:
    """Return a good event's bytes, with some parts replaced."""
    return json.dumps({"id": id, "at": at, "x": x}).encode()


def _raw(x: bytes) -> bytes:
    return b'{"id":"evil","at":%d,"x":%b}' % (SEED_MS, x)


def _refused(make: Callable[[Random], bytes | None]) -> Kind:
    return lambda rng, _, __: Hostile("", make(rng), True)


def _read(make: Callable[[Random, str], tuple[str, bytes]]) -> Kind:
    def made(rng: Random, name: str, _: int) -> Hostile:
        id, value = make(rng, name)
        return Hostile("", value, False, id)

    return made


def _cut(rng: Random) -> bytes:
    whole = event(x=rng.random())
    return whole[: rng.randrange(1, len(whole))]


def _wrong(rng: Random) -> bytes:
    ids: list[object] = [None, "", True, 1.5, [], {}, ["a"]]
    times: list[object] = [None, "soon", False, [], {}, "2013"]
    return rng.choice(
        [event(id=id) for id in ids]
        + [event(at=at) for at in times]
        + [b"[]", b"null", b"1", b'"text"', b"{}", b'{"id":"a"}', b"true"]
    )


def _far(rng: Random) -> bytes:
    return event(at=rng.choice([YEAR_2100_MS, -1, 1 << 53, 1 << 70, 1e18, 10**300]))


def _noise(rng: Random) -> bytes:
    return b"\xff" + rng.randbytes(rng.randrange(1, 2_000))


def _nested(rng: Random, levels: int) -> bytes:
    opening, closing = rng.choice([(b"[", b"]"), (b'{"a":', b"}"), (b"[", b"")])
    return _raw(opening * levels + b"1" * (opening != b"[") + closing * levels)


def _number(rng: Random) -> bytes:
    numbers = (
        b"1e999999",
        b"-1e400",
        b"1" + b"0" * 500 + b".5",
        b"NaN",
        b"-Infinity",
        b"0x10",
        b"01",
        b"1.",
    )
    return _raw(rng.choice(numbers))


def _utf8(rng: Random) -> bytes:
    broken = (b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\xe2\x82", b"\x80")
    return _raw(b'"' + rng.choice(broken) + b'"')


def _escape(rng: Random) -> bytes:
    return _raw(rng.choice((b'"\\ud800"', b'"\\udc00\\ud800"', b'"\\x41"', b'"\\u12"', b'"\n"', b'"\0"', b"'a'")))


def _around(rng: Random) -> bytes:
    return rng.choice([event() + b" {}", event() + b"\0", b"\xef\xbb\xbf" + event(), event() * 2, b"," + event()])


def _huge(rng: Random, _: str, big_bytes: int) -> Hostile:
    """A huge string where an id should be, or one whose closing quote is missing."""
    text = b"a" * (big_bytes - 200)
    return Hostile("", rng.choice((b'{"id":"%b","at":1,"x":1}' % text, b'{"id":"a","x":"' + text)), True)


def _odd_id(rng: Random, name: str) -> tuple[str, bytes]:
    parts = (
        "{%s}",
        "%s}{",
        "\0%s",
        "%s\0",
        "a:b:%s",
        "%s\r\n*1\r\n",
        "\u2028%s\U0001f600",
        "'%s\";--",
        "%s\\",
        "%%n%s",
    )
    id = rng.choice(parts) % name
    return id, event(id)


def _old(rng: Random, name: str) -> tuple[str, bytes]:
    return name, event(name, rng.choice([0, 1, 86_400_000]))


def _odd(rng: Random, name: str) -> tuple[str, bytes]:
    whole = event(name)
    return name, rng.choice(
        (
            b'{"id":"other",' + whole[1:],
            b" \r\n\t" + whole + b"\n ",
            whole[:-1] + b',"":{"":[]},"\\u0000":"\\ud83d\\ude00"}',
            whole[:-1] + b',"y":' + b"[" * 100 + b"]" * 100 + b"}",
            whole[:-1] + b',"y":-0.0,"z":1e-999999}',
        )
    )


KINDS: dict[str, Kind] = {
    "truncated": _refused(_cut),
    "wrong type": _refused(_wrong),
    HUGE: _huge,
    "deep nesting": _refused(lambda rng: _nested(rng, rng.choice([200, 2_000]))),
    DEEPEST: _refused(lambda rng: _nested(rng, DEEP)),
    "huge number": _refused(_number),
    DIGITS: _refused(lambda _: _raw(b"9" * DEEP)),
    "invalid UTF-8": _refused(_utf8),
    "bad escape": _refused(_escape),
    "something around": _refused(_around),
    "empty": _refused(lambda _: b""),
    "no value": _refused(lambda _: None),
    "noise": _refused(_noise),
    "far time": _refused(_far),
    "odd id": _read(_odd_id),
    OLD: _read(_old),
    "odd JSON": _read(_odd),
}
