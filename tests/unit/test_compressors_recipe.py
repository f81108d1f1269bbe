"""Recipes: bounds, JSON round trip, identity."""

import json
import math
from typing import Any

import pytest

from compressors.recipe import Distill, Prune, Quantize, Recipe


def test_a_recipe_survives_json_and_keeps_its_digest() -> None:
    recipe = Recipe(prune=Prune(amount=0.5, ramp=0.0), quantize=Quantize(bits=4), distill=Distill(alpha=0.9, passes=1))
    again = Recipe.from_dict(json.loads(json.dumps(recipe.to_dict())))
    assert again == recipe
    assert again.digest() == recipe.digest() != Recipe().digest()


def test_missing_parts_take_their_defaults() -> None:
    assert Recipe.from_dict({}) == Recipe()
    assert Recipe.from_dict({"prune": {"amount": 0.3}}).prune == Prune(amount=0.3)


@pytest.mark.parametrize("given", [{"prun": {}}, {"prune": {"threshold": 0.1}}])
def test_an_unknown_key_is_named_with_the_known_ones(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"has no (prun|threshold); it has"):
        Recipe.from_dict(given)


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (Prune, {"amount": 1.0}),
        (Prune, {"amount": -0.1}),
        (Prune, {"amount": math.nan}),
        (Prune, {"ramp": 1.5}),
        (Quantize, {"bits": 1}),
        (Quantize, {"bits": 16}),
        (Quantize, {"bits": 8.0}),
        (Distill, {"alpha": 1.1}),
        (Distill, {"temperature": 0.0}),
        (Distill, {"temperature": math.inf}),
        (Distill, {"passes": 0}),
        (Distill, {"batch": 0}),
        (Distill, {"learning_rate": 0.0}),
    ],
)
def test_a_value_out_of_bounds_is_refused_by_name(kind: type, wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises(ValueError, match=rf"\.{name} .*got"):
        kind(**wrong)
