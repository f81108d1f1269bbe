"""What each field of a features type is to a table: a category, a text, a number, or both number and category.

    str                     a category; of five words or more a text
    bool, Enum, Literal     a category
    float, Decimal          a number
    int                     a number, and a category while it is small (weekday, hour, counts)

each of them or None. A struct within is read too, its fields as `name.field`; fields of other types are left out. Owns
this choice and its messages. Does not know values.
"""

from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

from msgspec import inspect

from streams.errors import ConfigError

DEPTH = 4  # of structs within structs
STRUCTS = inspect.StructType | inspect.DataclassType | inspect.NamedTupleType | inspect.TypedDictType
SORTS = {
    "string": inspect.StrType,
    "category": inspect.StrType | inspect.BoolType | inspect.EnumType | inspect.LiteralType,
    "number": inspect.FloatType | inspect.DecimalType | inspect.IntType,
    "count": inspect.IntType,
}


class Fields(NamedTuple):
    """Paths of fields, such as `age` or `user.age`, each list in the type's order.

    `counts`: the numbers that are categories too, while they are small. `strings`: the categories whose long values are
    texts. `items`: rows are mappings.
    """

    categories: tuple[str, ...]
    numbers: tuple[str, ...]
    texts: tuple[str, ...] = ()
    counts: frozenset[str] = frozenset()
    strings: frozenset[str] = frozenset()
    items: bool = False


NONE = Fields((), ())


def fields_of(
    kind: type,
    categories: Collection[str] | None = None,
    numbers: Collection[str] | None = None,
    texts: Collection[str] | None = None,
) -> Fields:
    """Return the fields of a type; a list that is given is all fields of that sort, whatever their types.

    Raises:
        ConfigError: a name is not a field, or no field is left.

    >>> import msgspec
    >>> class Visit(msgspec.Struct):
    ...     country: str
    ...     age: float | None
    ...     hour: int
    >>> fields_of(Visit).numbers, fields_of(Visit).counts
    (('age', 'hour'), frozenset({'hour'}))
    >>> fields_of(Visit, categories=["country", "hour"]).numbers
    ('age',)
    """
    info = inspect.type_info(kind)
    sorts = dict(_sorts(info, "", DEPTH))
    given = {"category": categories, "number": numbers, "text": texts}
    named = {name for names in given.values() for name in names or ()}
    items = isinstance(info, inspect.DictType | inspect.AnyType | inspect.TypedDictType)
    if wrong := sorted(named - set(sorts)) if sorts else ():
        raise ConfigError(f"Wide: {kind.__name__} has no field {wrong[0]!r}; it has {', '.join(sorts)}")
    found = {}
    for sort, names in given.items():
        chosen = names if names is not None else {name for name in sorts if sort in sorts[name] and name not in named}
        found[sort] = tuple(name for name in sorts or sorted(named) if name in chosen)
    if not any(found.values()):
        raise ConfigError(
            f"Wide: no field of {getattr(kind, '__name__', kind)} is a text, a number, a bool or an Enum by its type; "
            "name those to read, such as Wide(categories=['country'], numbers=['age'])"
        )
    both = {name for name in found["number"] if name in found["category"]}
    counts = both | {name for name in found["number"] if name not in named and "count" in sorts[name]}
    only = tuple(name for name in found["category"] if name not in both)
    strings = {name for name in only if name not in named and "string" in sorts[name]}
    return Fields(only, found["number"], found["text"], frozenset(counts), frozenset(strings), items)


def without(fields: Fields, hidden: Collection[str]) -> Fields:
    """Return the fields without some.

    Raises:
        ConfigError: no other is left.
    """
    categories, numbers, texts = (tuple(name for name in names if name not in hidden) for names in fields[:3])
    if hidden and not (categories or numbers or texts):
        raise ConfigError(f"Wide: the features have {', '.join(sorted(hidden))}, and no other field to read")
    return fields._replace(categories=categories, numbers=numbers, texts=texts)


def paths_of(kind: type) -> tuple[str, ...]:
    """Return the paths of all fields of a type; none where its values are mappings of any keys."""
    return tuple(dict(_sorts(inspect.type_info(kind), "", DEPTH)))


def _sorts(info: inspect.Type, at: str, depth: int) -> Iterator[tuple[str, set[str]]]:
    """Yield the path of each field that could be read, and what it is by its type."""
    for one in _plain(info):
        for field in getattr(one, "fields", ()) if isinstance(one, STRUCTS) else ():
            kinds, path = _plain(field.type), f"{at}{field.name}"
            sorts = {sort for sort, types in SORTS.items() if any(isinstance(kind, types) for kind in kinds)}
            if sorts:
                yield path, {"category"} | sorts & {"string"} if "category" in sorts else sorts
            elif depth and not isinstance(one, inspect.TypedDictType) and any(isinstance(k, STRUCTS) for k in kinds):
                yield from _sorts(field.type, f"{path}.", depth - 1)
            else:
                yield path, set()


def _plain(info: Any) -> list[Any]:
    """Return the types that a value can have, without None."""
    while isinstance(info, inspect.Metadata):
        info = info.type
    types = info.types if isinstance(info, inspect.UnionType) else (info,)
    return [inner for one in types for inner in (_plain(one) if isinstance(one, inspect.Metadata) else [one])]
