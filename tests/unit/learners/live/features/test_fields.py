import dataclasses
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal, NamedTuple, TypedDict

import msgspec
import pytest

from learners.live.features.fields import Fields, fields_of
from learners.live.settings import Wide
from streams.errors import ConfigError


class Colour(Enum):
    RED = "red"


class Part(msgspec.Struct):
    weight: float
    kind: str | None = None


class Row(msgspec.Struct, rename="camel"):
    first_name: str
    fresh: bool
    colour: Colour
    size: Literal["s", "m"]
    price: Annotated[float, msgspec.Meta(ge=0)]
    exact: Decimal
    hour: int | None
    either: int | float
    part: Part
    other: Part | None = None
    tags: list[str] = []


class Item(TypedDict, total=False):
    country: str
    age: int


class Pair(NamedTuple):
    country: str
    age: int


@dataclasses.dataclass
class Data:
    country: str
    age: int


def test_each_field_is_what_its_type_says() -> None:
    found = fields_of(Row)
    assert found.categories == ("first_name", "fresh", "colour", "size", "part.kind", "other.kind")
    assert found.numbers == ("price", "exact", "hour", "either", "part.weight", "other.weight")
    assert found.counts == {"hour", "either"}
    assert (len(found.texts), found.items) == (0, False)
    assert found.strings == {"first_name", "part.kind", "other.kind"}


@pytest.mark.parametrize(("kind", "items"), [(Item, True), (Pair, False), (Data, False)])
def test_other_records_are_read_as_structs_are(kind: type, items: bool) -> None:
    assert fields_of(kind) == Fields(("country",), ("age",), (), frozenset({"age"}), frozenset({"country"}), items)


def test_a_list_that_is_given_is_all_fields_of_its_sort() -> None:
    found = fields_of(Row, categories=["hour"], texts=["first_name", "tags"], numbers=["hour", "price"])
    assert found == Fields((), ("price", "hour"), ("first_name", "tags"), frozenset({"hour"}), frozenset(), False)
    assert fields_of(Row, numbers=()).numbers == ()
    assert "hour" not in fields_of(Row, categories=["hour"]).numbers


def test_fields_without_types_are_named() -> None:
    found = fields_of(dict[str, Any], categories=["country"], numbers=["age"])
    assert (found.categories, found.numbers, found.items) == (("country",), ("age",), True)


@pytest.mark.parametrize(
    ("kind", "given", "words"),
    [
        (Row, {"numbers": ["prise"]}, "Wide: Row has no field 'prise'; it has first_name, "),
        (dict, {}, "no field of dict is a text, a number, a bool or an Enum by its type; name those to read"),
        (list[float], {}, "no field of list"),
        (Part, {"categories": (), "numbers": ()}, "no field of Part"),
    ],
)
def test_what_cannot_be_read_is_said(kind: type, given: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words.replace("(", r"\(")):
        fields_of(kind, **{"texts" if name == "text" else name: value for name, value in given.items()})


@pytest.mark.parametrize("given", [{"bits": 4}, {"bits": 40}, {"crosses": -1}, {"crosses": 10**9}, {"bit": 18}])
def test_settings_that_cannot_be_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="Wide"):
        Wide(**given)
