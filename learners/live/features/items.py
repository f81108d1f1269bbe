"""The items of a request that asks for their order: the one field of its features that is a list of structs.

Owns finding it, and a row for each item, whose fields are `request.name` and `item.name`. Does not know tables.
"""

from collections.abc import Sequence
from typing import Any

from msgspec import defstruct, inspect

from streams.errors import ConfigError

KINDS = inspect.ListType | inspect.VarTupleType


class Items:
    """Reads the items of rows of a features type.

    Raises:
        ConfigError: the type has no list of structs, or several.

    >>> from msgspec import Struct
    >>> class Book(Struct):
    ...     price: float
    >>> class Search(Struct):
    ...     words: str
    ...     books: list[Book]
    >>> items = Items(Search)
    >>> [row.item.price for row in items.of(Search("sea", [Book(5.0), Book(7.0)]), 3)]
    [5.0, 7.0]
    """

    def __init__(self, features: type) -> None:
        found = [
            (field.name, field.type.item_type.cls)
            for field in getattr(inspect.type_info(features), "fields", ())
            if isinstance(field.type, KINDS) and isinstance(field.type.item_type, inspect.StructType)
        ]
        if len(found) != 1:
            one = "none is" if not found else ", ".join(name for name, _ in found) + " are"
            raise ConfigError(
                f"Pipeline.live: live experts order the items of the one field that is a list of structs; of "
                f"{features.__name__} {one}"
            )
        ((self._name, item),) = found
        self.row: type[Any] = defstruct("Placed", [("request", features), ("item", item)], gc=False)

    def of(self, row: Any, most: int) -> Sequence[Any]:
        """Return a row for each of a request's first items."""
        return tuple(self.row(row, item) for item in getattr(row, self._name)[:most])
