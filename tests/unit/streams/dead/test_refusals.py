"""Dead letters: their reasons are counted by kind."""

import pytest

from streams.dead import Refusal, StoredLetter, reasons
from streams.kafka import Tp


def refusal(reason: str, start: int = 0, end: int = 1) -> Refusal:
    letter = StoredLetter(f"ads/0/{start}", Tp("ads", 0), start, end, reason, 0)
    return Refusal(letter, copies=1, replayed=False)


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("field 'at.1' must be the time, a number; found 'x'", "field 'at.1' must be the time, a number; found …"),
        ("header 'id' is not UTF-8: b'\\xff'", "header 'id' is not UTF-8: b…"),
        (
            "key is not text: b'\\x00\\x07'; if it is the short 7 of Kafka, say key('short')",
            "key is not text: b…; if it is the short … of Kafka, say key('short')",
        ),
        ('not JSON: "a" at byte 17', "not JSON: … at byte …"),
        (
            "key must be the id, text or a whole number; found -1.5",
            "key must be the id, text or a whole number; found …",
        ),
    ],
)
def test_a_kind_of_reason_has_the_field_but_not_the_value(reason: str, kind: str) -> None:
    assert reasons([refusal(reason)]) == {kind: 1}


def test_the_most_frequent_kind_comes_first_and_a_range_counts_by_its_offsets() -> None:
    refused = [refusal("not JSON: byte 1"), refusal("damaged", 3, 9), refusal("not JSON: byte 2")]
    assert list(reasons(refused).items()) == [("damaged", 6), ("not JSON: byte …", 2)]
