"""What a user's functions and types must be: network, encoder, readers, features, recipe.

Owns these messages. Does not know what the parts do.
"""

import inspect as signature
from typing import Any

import msgspec
from msgspec import inspect
from torch import nn

from compressors.arguments import shown
from compressors.recipe import STEP_NAMES, Recipe
from streams.errors import ConfigError

HALF = (
    "Pipeline.model and Pipeline.encode belong together: give both, or neither, and the fields are read by their types"
)
SEEDS = range(2**63)


def check_model(model: object) -> None:
    """Check that `model` makes a network.

    Raises:
        ConfigError: it is a network, or cannot be called.
    """
    if isinstance(model, nn.Module):
        kind = type(model).__name__
        raise ConfigError(
            f"Pipeline.model must make a new network at each call: model={kind}, or model=lambda: {kind}(...); it is a "
            f"network, {kind}(...)"
        )
    if not callable(model):
        raise ConfigError(f"Pipeline.model must be a function that makes a network, got {shown(model)}")


def check_takes(name: str, function: Any, *arguments: str) -> None:
    """Check that a part can be called with so many arguments, and answers at once.

    Raises:
        ConfigError: it takes others, or is a coroutine's or a generator's function where one value is asked for.
    """
    if signature.iscoroutinefunction(function):
        raise ConfigError(f"Pipeline.{name} must be a plain function, without async, got {shown(function)}")
    if arguments and (signature.isgeneratorfunction(function) or isinstance(function, type)):
        raise ConfigError(f"Pipeline.{name} must be a function that returns a value, got {shown(function)}")
    try:
        signature.signature(function).bind(*arguments)
    except TypeError as wrong:
        right = f"one argument, {arguments[0]}" if arguments else "no arguments"
        raise ConfigError(f"Pipeline.{name} is called with {right}: {wrong}; got {shown(function)}") from None
    except ValueError:  # a function of C, which does not say
        return


def check_theirs(theirs: Any) -> None:
    """Check where the answers of another system are.

    Raises:
        ConfigError: neither a field's name nor a function of a record.
    """
    if callable(theirs):
        check_takes("theirs", theirs, "a Record")
    elif theirs is not None and not (isinstance(theirs, str) and all(theirs.split("."))):
        raise ConfigError(
            "Pipeline.theirs must be a field's name, a path like 'answer.score', or a function of a Record that "
            f"returns what the other system answered, got {shown(theirs)}"
        )


def check_features(kind: Any) -> None:
    """Check that a request's JSON can be decoded into `features`.

    Raises:
        ConfigError: it cannot; the message names the part at fault.
    """
    what = "Pipeline.features must be a type that JSON can be decoded into, such as a msgspec.Struct"
    if isinstance(kind, (msgspec.Struct, str, bytes, int, float, list, tuple)) or (kind is None):
        raise ConfigError(f"{what}; got {shown(kind)}, which is no type")
    try:
        msgspec.json.Decoder(kind)
        custom = _custom(inspect.type_info(kind), "")
    except (TypeError, NameError, ValueError) as wrong:
        raise ConfigError(f"{what}; got {shown(kind)}: {wrong}") from None
    if custom is not None:
        raise ConfigError(f"{what}; got {shown(kind)}{custom}")


def _custom(kind: inspect.Type, at: str, depth: int = 8) -> str | None:
    """Return where a type of which msgspec knows nothing is, and its name; None if there is none."""
    if isinstance(kind, inspect.CustomType):
        return f", whose {at} is a {kind.cls.__name__}" if at else ", which is none: derive it from msgspec.Struct"
    fields = getattr(kind, "fields", ())
    parts = [(one.type, f"field {one.name!r}") for one in fields]
    parts += [(part, at) for name in ("item_type", "key_type", "value_type") if (part := getattr(kind, name, None))]
    parts += [(part, at) for name in ("item_types", "types") for part in getattr(kind, name, ())]
    found = (_custom(part, where, depth - 1) for part, where in parts if depth)
    return next((one for one in found if one is not None), None)


def recipe_of(recipe: object) -> Recipe:
    """Return a recipe, also of its text or of one step.

    Raises:
        ConfigError: it is none; the message says what is wrong with it.
    """
    if isinstance(recipe, Recipe):
        return recipe
    try:
        if isinstance(recipe, str):
            return Recipe.parse(recipe)
        steps = tuple(recipe) if isinstance(recipe, list | tuple) else (recipe,)
        if steps and all(type(step) in STEP_NAMES for step in steps):
            return Recipe(*steps)
    except ValueError as wrong:
        raise ConfigError(f"Pipeline.recipe: {wrong}") from None
    right = "a Recipe(...), or its text such as 'prune(amount=0.6) -> quantize(int8) -> distill'"
    raise ConfigError(f"Pipeline.recipe must be {right}, got {shown(recipe)}")


def check_settings(name: str, value: object, kind: type) -> None:
    """Check that a part is one of its class.

    Raises:
        ConfigError: it is not.
    """
    if not isinstance(value, kind):
        raise ConfigError(f"Pipeline.{name} must be {kind.__name__}(...), got {shown(value)}")


def check_seed(seed: int) -> None:
    """Check that a seed is one.

    Raises:
        ConfigError: it is negative, or has more than 63 bits.
    """
    if seed not in SEEDS:
        raise ConfigError(f"Pipeline.seed must be at least 0 and below 2**63, got {shown(seed)}")
