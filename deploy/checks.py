"""What the parts of a Pipeline must be: checked when it is made, before anything starts, and said in its own words.

Owns these messages. Does not know what the parts do.
"""

import inspect as signature
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import torch
from msgspec import inspect
from torch import nn

from compressors.arguments import shown
from compressors.recipe import STEP_NAMES, Recipe
from deploy.loading import users_code
from learners.labels.settings import Trust
from learners.live.features.fields import fields_of, paths_of
from learners.live.settings import MOST_WEIGHTS, Intercept, Live
from learners.online.transforms.tabular import Tabular
from learners.tasks.binary import Binary
from learners.tasks.classes import Classes
from learners.tasks.multilabel import MultiLabel
from learners.tasks.regression import Quantile, Regression
from learners.tasks.task import Answering, Task
from streams.errors import ConfigError, MalformedEvent
from streams.events import Prediction
from streams.join.policy import JoinPolicy

TASKS = {
    "binary": "Binary()",
    "classes": "Classes(K)",
    "multilabel": "MultiLabel(K)",
    "regression": "Regression()",
    "quantile": "Quantile(0.9)",
    "bandit": "Bandit(K)",
    "ranking": "Ranking(K)",
    "nexttoken": "NextToken(V)",
    "sequencescore": "SequenceScore()",
}
JUDGED = (Binary, Classes)
LEARNED = (Binary, Classes, MultiLabel, Regression, Quantile)  # by live experts
HALF = (
    "Pipeline.model and Pipeline.encode belong together: give both, or neither, and the fields are read by their types"
)
MEMBERS = [name for name in vars(Task) if not name.startswith("_")]
SEEDS = range(2**63)
TIMES_MS = range(253_402_300_800_000)  # to the end of year 9999
FED = ("requests", "outcomes")


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


def tabular_of(features: type, task: Task) -> Tabular:
    """Return the usual encoder and network, for a pipeline that has none.

    Raises:
        ConfigError: no field of the features can be read by its type.
    """
    try:
        return Tabular(features, task.outputs)
    except ConfigError:
        raise ConfigError(
            f"Pipeline needs encode=... and model=...: it goes without them where a field of the features is a text, a "
            f"number, a bool or an Enum by its type, and none of {shown(features)} is"
        ) from None


def check_task(task: object) -> None:
    """Check that `task` is a task.

    Raises:
        ConfigError: it is not; the message has what was probably meant.
    """
    if isinstance(task, type):
        raise ConfigError(f"Pipeline.task must be a task, not its class: task={task.__name__}(...)")
    if isinstance(task, str):
        right = TASKS.get(task.lower().strip("()"), "Binary()")
        raise ConfigError(f"Pipeline.task must be a task, such as task={right}, got {shown(task)}")
    missing = [name for name in MEMBERS if not hasattr(task, name)]
    if missing:
        raise ConfigError(
            f"Pipeline.task must be {', '.join(TASKS.values())} or a class of yours with the same members; "
            f"{shown(task)} has no {', '.join(missing)}"
        )
    outputs = task.outputs  # type: ignore[attr-defined]
    if not isinstance(outputs, int) or isinstance(outputs, bool) or outputs < 1:
        raise ConfigError(f"Pipeline.task: outputs must be a whole number, at least 1, got {shown(outputs)}")
    if isinstance(task, Answering):
        _check_answers(task, outputs)


def _check_answers(task: Answering, outputs: int) -> None:
    """Check what a task says of an answer: names of its own, values that JSON has."""
    with users_code("Pipeline.task.answers"):
        made: Any = task.answers(torch.zeros(1, outputs))
        if not (isinstance(made, list) and len(made) == 1 and isinstance(made[0], dict)):
            raise ConfigError(f"Pipeline.task.answers must return a list, a dict for each answer, got {shown(made)}")
        msgspec.json.encode(made[0])
    if taken := sorted(set(made[0]) & set(Prediction.__struct_fields__)):
        raise ConfigError(
            f"Pipeline.task.answers must use names of its own: a prediction has {', '.join(taken)} already"
        )


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


def live_of(live: object, task: Task, features: type) -> Live | Intercept:
    """Return what learns at once, and answers, beside the model: by default live experts, where they can.

    Raises:
        ConfigError: it is neither `Live` nor `Intercept`, or live experts cannot learn this task or read the features.
    """
    if live is None:
        try:
            return live_of(Live(), task, features)
        except ConfigError:
            return Intercept()
    if isinstance(live, Live):
        if not isinstance(task, LEARNED):
            raise ConfigError(
                "Pipeline.live: live experts learn Binary(), Classes(...), MultiLabel(...), Regression() and "
                f"Quantile(...), not {shown(task)}; set live=Intercept()"
            )
        if (weights := task.outputs << live.wide.bits) > MOST_WEIGHTS:
            raise ConfigError(
                f"Pipeline.live: {task.outputs} classes in tables of 2^{live.wide.bits} slots are {weights:,} weights "
                f"each; at most {MOST_WEIGHTS:,} are kept: set Wide(bits=...) lower, or live=Intercept()"
            )
        live.wide.fields(features)
    elif not isinstance(live, Intercept):
        raise ConfigError(f"Pipeline.live must be Live(...) or Intercept(), got {shown(live)}")
    return live


def check_private(live: object, trust: object, history: object) -> None:
    """Check that nothing else tells what private updates hide.

    Raises:
        ConfigError: something does; the message says what.
    """
    if isinstance(live, Live):
        raise ConfigError(
            "Pipeline.live=Live(...) with Online.private: live experts learn each outcome as it is, and serve it; "
            "set live=Intercept()"
        )
    if trust is not None:
        raise ConfigError(
            "Pipeline.trust with Online.private: what other samples say decides which are learned; leave trust out"
        )
    if history is None:
        raise ConfigError(
            "Online.private needs Pipeline(history=...): candidates are distilled on it, not on the feed's samples. "
            "Its rows are not protected: take public ones"
        )


def check_trust(trust: object, task: Task, features: type) -> None:
    """Check what a pipeline says of its trust.

    Raises:
        ConfigError: it is neither `Trust` nor None, or the task's answers or the features say too little.
    """
    if trust is None:
        return
    if not isinstance(trust, Trust):
        raise ConfigError(f"Pipeline.trust must be Trust(...) or None, got {shown(trust)}")
    if type(task) not in JUDGED:
        raise ConfigError(f"Pipeline.trust judges outcomes of Binary() and Classes(K), not of {shown(task)}")
    if trust.source is None:
        fields_of(features)
    known = paths_of(features)
    if isinstance(trust.source, str) and known and trust.source not in known:
        raise ConfigError(f"Trust.source: no field {trust.source!r} in the features; they have {', '.join(known)}")


def slices_of(slices: object, features: type) -> tuple[str, ...]:
    """Return the names of the fields by which what is served is measured.

    Raises:
        ConfigError: they are no names, or the features have no such field.
    """
    names = (slices,) if isinstance(slices, str) else slices
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise ConfigError(f"Pipeline.slices must be a field's name, or a list of names, got {shown(slices)}")
    known = paths_of(features)
    if known and (wrong := [name for name in names if name not in known]):
        kind = getattr(features, "__name__", shown(features))
        raise ConfigError(f"Pipeline.slices: {kind} has no field {wrong[0]!r}; it has {', '.join(known)}")
    return tuple(dict.fromkeys(names))


def check_negative(task: Task, join: JoinPolicy) -> None:
    """Check that the task takes the label of a window that closes without an outcome, as it is.

    Raises:
        ConfigError: absence is a negative, and its label is none of the task's, or its target has several numbers.
    """
    if join.absent != "negative":
        return
    key = f"join.absent = 'negative' and join.negative_label = {join.negative_label:g}"
    try:
        target = task.target(join.negative_label)
    except MalformedEvent as wrong:
        raise ConfigError(f"{key}: {wrong}; set join.negative_label to a label of {shown(task)}") from None
    if target != join.negative_label:
        raise ConfigError(
            f"{key}: the target of {shown(task)} is {shown(target)}, more than a number; report each outcome"
        )


def check_rows(name: str, value: object, what: str) -> None:
    """Check that a part is a function, or None.

    Raises:
        ConfigError: it is something else; the message says how to make a function of it.
    """
    if value is not None and not isinstance(value, Callable):  # type: ignore[arg-type]
        raise ConfigError(
            f"Pipeline.{name} must be a function that returns {what}, such as {name}=lambda: rows, got {shown(value)}"
        )


def check_events(events: Sequence[Any]) -> None:
    """Check what a recorded feed yields, by its first events.

    Raises:
        ConfigError: it is no `FeedEvent`, or one of its fields is of another kind.
    """
    for event in events:
        fields = [getattr(event, name, None) for name in ("t_ms", "topic", "key", "value")]
        t_ms, topic, *texts = fields
        if not isinstance(t_ms, int) or topic not in FED or not all(isinstance(text, bytes) for text in texts):
            raise ConfigError(
                "Pipeline.feed yields FeedEvent(t_ms=milliseconds, topic='requests' or 'outcomes', key=bytes, "
                f"value=bytes), got {shown(event)}"
            )


def check_ends(ends_ms: int | None) -> None:
    """Check the time of a recorded feed's last event.

    Raises:
        ConfigError: it is no time in milliseconds.
    """
    if ends_ms is not None and ends_ms not in TIMES_MS:
        raise ConfigError(f"Pipeline.feed_ends_ms must be a time in milliseconds since 1970, got {shown(ends_ms)}")


def check_seed(seed: int) -> None:
    """Check that a seed is one.

    Raises:
        ConfigError: it is negative, or has more than 63 bits.
    """
    if seed not in SEEDS:
        raise ConfigError(f"Pipeline.seed must be at least 0 and below 2**63, got {shown(seed)}")
