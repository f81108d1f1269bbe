"""Recipes: bounds, contradictions, text and JSON round trips, identity."""

import inspect
import json
import math
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressors.recipe import KINDS, Distill, Prune, PruneStructured, Quantize, Recipe, Retrain

AMOUNTS = st.floats(0.01, 0.99)
TRAINED = {"passes": st.integers(1, 9), "batch": st.integers(1, 999), "learning_rate": st.floats(1e-6, 0.9)}
TRAINED |= {"schedule": st.sampled_from(["constant", "cosine"])}
PRUNES = st.builds(Prune, amount=AMOUNTS, scope=st.sampled_from(["all", "layer", "lamp"])) | st.builds(
    Prune, below=st.floats(0, 1e3), layers=st.lists(st.sampled_from(KINDS), min_size=1, unique=True).map(tuple)
)
STRUCTURED = st.builds(PruneStructured, amount=AMOUNTS, units=st.sampled_from(["heads", ("neurons", "channels")]))
QUANTIZES = st.builds(Quantize, st.sampled_from(["int8", "int4", "int2"]), st.sampled_from(["row", "float", None]))
QUANTIZES |= st.builds(Quantize, st.just("int8"), st.just("static")) | st.just(Quantize("bfloat16"))
QUANTIZES |= st.builds(Quantize, st.sampled_from(["int8", "int3"]), st.none(), st.integers(2, 99))
TRAININGS = st.builds(Retrain, **TRAINED) | st.builds(Distill, temperature=st.floats(0.1, 9), **TRAINED)
CHAINS = st.tuples(st.none() | STRUCTURED, st.none() | PRUNES, st.none() | TRAININGS, st.none() | QUANTIZES, TRAININGS)


BY_KIND = st.permutations(  # each kind in steps of its own, in any order
    [
        *(Quantize(bits, layers=(kind,)) for bits, kind in zip(("int5", "int8", "int4"), KINDS, strict=False)),
        *(Prune(amount=0.2 * at + 0.1, layers=(kind,)) for at, kind in enumerate(KINDS[:4])),
    ]
)


@given(CHAINS | BY_KIND)
def test_a_recipe_survives_text_and_json_and_keeps_its_digest(steps: tuple[Any, ...]) -> None:
    recipe = Recipe(*(step for step in steps if step))
    for again in (Recipe.parse(str(recipe)), Recipe.from_dict(json.loads(json.dumps(recipe.to_dict())))):
        assert again == recipe
        assert again.digest() == recipe.digest() != Recipe().digest()


@pytest.mark.parametrize(
    ("text", "digest"),
    [
        ("prune(amount=0.8) -> quantize(int8) -> distill", "c5d9fee376399ac8"),
        ("prune(amount=0.5, layers=(linear, conv)) -> quantize(int4, group=32)", "79c62903f7b84822"),
    ],
)
def test_a_lineage_keeps_its_name(text: str, digest: str) -> None:
    assert Recipe.parse(text).digest() == digest


def test_the_text_is_what_one_would_write() -> None:
    recipe = Recipe(Prune(amount=0.6), Quantize("int8"), Distill(temperature=2.0))
    assert str(recipe) == "prune(amount=0.6) -> quantize(int8) -> distill(temperature=2.0)"
    for text in ("prune(amount=0.6) → quantize('int8') → distill(temperature=2)",
                 " prune(amount=.6)->quantize(int8)  ->\n distill(temperature=2)"):  # fmt: skip
        assert Recipe.parse(text) == recipe
    assert Recipe.parse("  ") == Recipe()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("prun(amount=0.1)", "no step 'prun'; it has prune, "),
        ("prun(0.1)", "no step 'prun'; it has prune, "),
        ("prune(threshold=0.1)", "prune has no threshold; it has amount, below"),
        ("prune(amount=0.1", "a chain like"),
        ("prune(amount=1+x)", "a chain like"),
        ("prune(amount=__import__('os'))", "a chain like"),
        ("prune(amount=0.1).x()", "a chain like"),
        ("quantize(int8, row)", "settings are named"),
        ("quantize(int8, weights=int4)", "settings are named"),
        ("prune(0.5) -> -> retrain", "a chain like"),
    ],
)
def test_a_text_that_is_no_recipe_is_refused(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Recipe.parse(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("prune(pattern='2:4') -> prune(amount=0.3)", "contradict each other: 2:4 leaves exactly 50%.*, not 70%"),
        ("prune(amount=0.8) -> retrain -> prune(pattern='2:4')", "contradict each other"),
        ("prune(amount=0.8) -> prune(amount=0.5)", "what is pruned stays pruned"),
        ("prune(amount=0.5, layers=linear) -> prune(amount=0.8)", "share linear but not all layers"),
        (
            "prune(amount=0.8, layers=conv) -> prune(amount=0.5, layers=linear) -> prune(amount=0.7, layers=conv)",
            "0.7.* after prune.*0.8.*what is pruned stays pruned",
        ),
        ("prune(pattern='2:4', layers=conv) -> prune(amount=0.3, layers=conv)", "2:4 leaves exactly 50%"),
        ("quantize(int8, layers=(conv, linear)) -> quantize(int4, layers=linear)", "linear weights are quantized once"),
        ("retrain(passes=2.5)", "retrain.passes must be a whole number, got 2.5"),
        ("quantize(int4, group=8.0)", "quantize.group must be a whole number or None, got 8.0"),
        ("quantize(int4, layers=conv)", "int4 on a convolution loses too much"),
        ("quantize(int8) -> retrain -> quantize(int4)", "weights are quantized once"),
        ("quantize(int8) -> prune_structured(amount=0.3)", "whole units go before"),
        ("prune(amount=0.8, ramp=0.5) -> quantize(int8)", "no retrain or distill after it"),
        ("quantize(int8, group=32, inputs=row)", "group is for float inputs"),
        ("quantize(bfloat16, inputs=row)", "bfloat16 weights have float inputs"),
        ("quantize(bfloat16, group=8)", "no scales to share"),
        ("prune(below=0.1, ramp=0.5) -> retrain", "ramp goes with amount, not with below"),
        ("prune(pattern='4:2')", "N:M with 0 < N < M"),
        ("prune(pattern='2:4', scope=layer)", "scope goes with amount"),
        ("prune()", "one of amount, below and pattern, got none"),
        ("quantize(int8) -> prune", "one of amount, below and pattern, got none"),
        ("prune(amount=0.1, below=0.1)", "one of amount, below and pattern, got .*amount.*below"),
    ],
)
def test_contradictions_are_refused_with_the_reason(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Recipe.parse(text)


def test_what_does_not_contradict_passes() -> None:
    assert Recipe(Prune(pattern="2:4"), Prune(amount=0.5)).first(Prune) == Prune(pattern="2:4")
    assert Recipe(Distill()).first(Retrain) == Distill()
    text = "prune(pattern='2:4', layers=conv) -> prune(amount=0.2, layers=linear) -> quantize(int8, layers=conv) -> "
    assert Recipe.parse(text + "quantize(int4)").quantized()["recurrent"] == Quantize("int4")
    assert "conv" not in (Quantize("int4").layers or ())
    assert Quantize("int4", group=8).inputs == "float"


def test_an_unknown_key_is_named_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"one member, steps, got \['prune'\]"):
        Recipe.from_dict({"prune": {}})
    with pytest.raises(ValueError, match="has no threshold; it has"):
        Recipe.from_dict({"steps": [{"step": "prune", "threshold": 0.1}]})


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (Prune, {"amount": 1.0}),
        (Prune, {"amount": -0.1}),
        (Prune, {"amount": math.nan}),
        (Prune, {"below": math.nan}),
        (Prune, {"below": -1.0}),
        (Prune, {"amount": 0.5, "ramp": 1.5}),
        (Prune, {"amount": 0.5, "layers": ("norm",)}),
        (PruneStructured, {"amount": 0.0}),
        (PruneStructured, {"amount": 0.5, "units": ("rows",)}),
        (Quantize, {"weights": "int9"}),
        (Quantize, {"weights": "int16"}),
        (Quantize, {"inputs": "dynamic"}),
        (Quantize, {"group": 1}),
        (Retrain, {"passes": 0}),
        (Distill, {"alpha": 1.1}),
        (Distill, {"temperature": 0.0}),
        (Distill, {"temperature": math.inf}),
        (Distill, {"hidden": -1.0}),
        (Distill, {"batch": 0}),
        (Distill, {"learning_rate": 0.0}),
        (Retrain, {"schedule": "linear"}),
    ],
)
def test_a_value_out_of_bounds_is_refused_by_name(kind: type, wrong: dict[str, Any]) -> None:
    name = list(wrong)[-1]
    with pytest.raises(ValueError, match=rf"\.{name} .*got"):
        kind(**wrong)


WRONG = [3, None, "x", 1.5, True, b"1", [], {}, 1j, object(), 10**5_000, float("nan")]


@pytest.mark.parametrize("step", [Prune, PruneStructured, Quantize, Retrain, Distill])
def test_a_step_takes_a_value_or_says_what_it_must_be_in_one_line(step: Any) -> None:
    for name, wrong in product(inspect.signature(step).parameters, WRONG):
        needed = {"amount": 0.5} if step in (Prune, PruneStructured) and name not in ("below", "pattern") else {}
        said = refusal(step, needed | {name: wrong})
        assert said.isprintable()
        assert len(said) < 300
        assert not said or name in said


def refusal(step: Any, parts: dict[str, Any]) -> str:
    """Return the text of our refusal; any other error fails the test."""
    try:
        step(**parts)
    except ValueError as refused:
        return str(refused)
    return ""
