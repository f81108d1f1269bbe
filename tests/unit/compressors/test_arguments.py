"""Parameters: an unknown name is told the nearest, a missing one is named, and a number is a number."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from compressors.arguments import named


@named(LookupError)
@dataclass(frozen=True, kw_only=True)
class Rates:
    """Named parameters only."""

    title: str
    batch: int = 1
    learning_rate: float = 0.1
    most: float | None = None
    quick: bool = False
    other: Any = None


@named(LookupError)
@dataclass(frozen=True)
class Place:
    """Parameters by their place, too."""

    x: float
    y: float = 0.0


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"title": "a", "bach": 2}, "Rates has no parameter 'bach'; did you mean 'batch'?"),
        (
            {"title": "a", "zzz": 2},
            "Rates has no parameter 'zzz'; it has title, batch, learning_rate, most",
        ),
        ({}, "Rates needs title=..."),
        ({"title": 3}, "Rates.title must be text, got 3"),
        ({"title": "a", "batch": 1.5}, "Rates.batch must be a whole number, got 1.5"),
        ({"title": "a", "batch": True}, "Rates.batch must be a whole number, got True"),
        ({"title": "a", "batch": "x\n" * 500}, "Rates.batch must be a whole number, got 'x\\nx"),
        ({"title": "a", "learning_rate": "fast"}, "Rates.learning_rate must be a finite number, got 'fast'"),
        ({"title": "a", "learning_rate": float("nan")}, "Rates.learning_rate must be a finite number, got nan"),
        ({"title": "a", "learning_rate": None}, "Rates.learning_rate must be a finite number, got None"),
        ({"title": "a", "most": "1"}, "Rates.most must be a finite number or None, got '1'"),
        ({"title": "a", "quick": 1}, "Rates.quick must be True or False, got 1"),
    ],
)
def test_a_wrong_parameter_is_named(keys: dict[str, Any], said: str) -> None:
    with pytest.raises(LookupError) as raised:
        Rates(**keys)
    assert str(raised.value).startswith(said)
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 200


def test_places() -> None:
    assert Place(1, y=2) == Place(1.0, 2.0)
    positional: Any = Rates
    with pytest.raises(LookupError, match=r"Rates takes named parameters only, such as Rates\(title=\.\.\.\)"):
        positional("a")
    three: Any = (1, 2, 3)
    with pytest.raises(LookupError, match="Place takes at most 2 without a name"):
        Place(*three)


def test_what_is_right_passes() -> None:
    made = Rates(title="a", batch=int(np.int64(3)), learning_rate=1, most=None, other=object)
    assert (made.batch, made.learning_rate) == (3, 1)
