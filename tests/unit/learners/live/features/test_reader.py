import math
import zlib
from decimal import Decimal
from enum import IntEnum
from typing import Any

import msgspec
import numpy as np
import pytest

from learners.live.features.fields import Fields, fields_of
from learners.live.features.reader import KNOWN, WORDS, Reader, Tokens, crc32


class Row(msgspec.Struct):
    place: str | None
    price: float | None = 1.0
    hour: int | None = 1


class Level(IntEnum):
    LOW = 1


def reads(kind: type = Row, **given: Any) -> Reader:
    return Reader(fields_of(kind, **given))


def words(*texts: str, field: str = "place") -> list[int]:
    return [zlib.crc32(f"{field} {text}".encode()) for text in texts]


def test_a_category_is_the_checksum_of_field_and_value() -> None:
    read = reads().read([Row("JFK"), Row(None), Row("")])
    assert read.tokens[:, 0].tolist() == [zlib.crc32(b"place=JFK"), zlib.crc32(b"place"), zlib.crc32(b"place=")]


def test_numbers_are_read_and_what_is_none_is_nan() -> None:
    numbers = reads().read([Row("a", 2.5, 3), Row("a", None, None), Row("a", 1e300, 10**400)]).numbers
    assert np.array_equal(numbers, [[2.5, 3], [math.nan, math.nan], [1e300, math.nan]], equal_nan=True)


def test_numbers_are_one_kind_of_array_however_they_were_read() -> None:
    plain, odd = (reads().read([row]).numbers for row in (Row("a", 2.5, 3), Row("a", None, 3)))
    assert plain.flags.writeable, "what is compiled would be compiled once more for arrays that are not"
    assert (plain.dtype, plain.flags.c_contiguous) == (odd.dtype, odd.flags.c_contiguous)


def test_a_string_of_five_words_is_a_text_and_its_words_count_once() -> None:
    read = reads().read([Row("The cat and the Dog"), Row("four words are few"), Row("one TWO, two three one")])
    assert read.tokens[:, 0].tolist() == [0, zlib.crc32(b"place=four words are few"), 0]
    assert read.ends.tolist() == [4, 4, 7]
    assert read.words.tolist() == words("the", "cat", "and", "dog") + words("one", "two", "three")


def test_a_text_that_is_named_is_words_only_and_no_more_than_the_most() -> None:
    reader = reads(texts=["place"])
    read = reader.read([Row("a b"), Row(None), Row(" ".join(map(str, range(1_000))))])
    assert (read.tokens.shape, read.ends.tolist()) == ((3, 0), [2, 2, 2 + WORDS])


def test_a_category_that_is_named_is_never_a_text() -> None:
    read = reads(categories=["place"]).read([Row("one two three four five")])
    assert (read.tokens[0, 0], len(read.words)) == (zlib.crc32(b"place=one two three four five"), 0)


def test_a_list_of_strings_that_is_named_as_text_is_its_words() -> None:
    reader = Reader(Fields((), (), ("tags",), items=True))
    assert reader.read([{"tags": ["red", "Big"]}, {}]).words.tolist() == words("red", "big", field="tags")


@pytest.mark.parametrize(
    "values", [(1, True, 1.0, Level.LOW), (0, False, -0.0), (2.5, Decimal("2.50")), (2**70, 2.0**70)]
)
def test_equal_values_are_one_token_whichever_came_first(values: tuple[Any, ...]) -> None:
    each = {Tokens("n", False)[value] for value in values}
    together = Tokens("n", False)
    assert len(each) == 1
    assert {together[value] for value in values} == each


def test_what_is_kept_of_values_is_bounded() -> None:
    tokens = Tokens("n", True)
    for value in range(KNOWN + 10):
        assert tokens[value] == crc32(f"n={value}")
    assert len(tokens) <= KNOWN
    assert tokens["x" * 10_000]
    assert "x" * 10_000 not in tokens
    assert all(tokens[math.nan] == crc32("n") for _ in range(3))


@pytest.mark.parametrize("odd", [10**5_000, -(10**5_000), [1], {"a": 1}, 1j, b"x", "\ud800", object], ids=type)
def test_any_value_of_a_category_has_a_token(odd: Any) -> None:
    reader = Reader(Fields(("a",), ("b",), items=True))
    read = reader.read([{"a": odd, "b": odd}, {"a": "plain", "b": 1}])
    assert read.tokens[0, 0]
    assert read.tokens[1, 0] == crc32("a=plain")
    assert math.isnan(read.numbers[0, 0]) or odd in (0, 1)


def test_what_a_mapping_or_a_part_lacks_is_missing() -> None:
    class Outer(msgspec.Struct):
        part: Row | None = None

    read = reads(Outer).read([Outer(), Outer(Row("x", 5.0, 7))])
    assert read.tokens[:, 0].tolist() == [crc32("part.place"), crc32("part.place=x")]
    assert np.array_equal(read.numbers, [[math.nan, math.nan], [5.0, 7.0]], equal_nan=True)
    read = Reader(Fields(("a",), ("b",), items=True)).read([{}, {"a": 1, "b": "2.5"}])
    assert np.array_equal(read.numbers[:, 0], [math.nan, 2.5], equal_nan=True)


def test_the_same_tuple_is_read_once_and_a_list_each_time() -> None:
    reader, rows = reads(), (Row("a"),)
    assert reader.read(rows) is reader.read(rows)
    same = [Row("a")]
    assert reader.read(same) is not reader.read(same)


def test_no_rows_are_no_rows() -> None:
    read = reads().read([])
    assert (read.tokens.shape, read.numbers.shape, len(read.words)) == ((0, 1), (0, 2), 0)
