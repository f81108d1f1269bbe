"""What a user's pipeline.py says: the model, the task, how to read events, the recipe, the promotion policy.

Owns the contract between a user's file and the loop, and loading that file. Does not know where anything runs.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor, nn

from compressors.arguments import named
from compressors.recipe import Distill, Prune, PruneStructured, Quantize, Recipe
from deploy import feed as feeds
from deploy import loading
from deploy.checks import learning, parts, recorded, tasks
from learners.evaluation.gate import Promotion
from learners.labels.make import running_trust
from learners.labels.running import RunningTrust
from learners.labels.settings import Trust
from learners.live.settings import Intercept, Live
from learners.online.batches import Encoder
from learners.online.settings import Online
from learners.online.transforms.tabular import Tabular, usual
from learners.tasks.binary import Binary
from learners.tasks.task import Task
from streams.errors import ConfigError
from streams.events import Event, Label, Outcome, Record, Request
from streams.readers import Migrate, Reader, checked, json_outcome, json_request, read_prediction, time_of, timed
from streams.returned import as_outcome, labelled


class Labelled(NamedTuple):
    """One row of a pipeline's history: `features` of the pipeline's type, and their `label`.

    The label is an outcome's: 0 or 1 for `Binary`, a class's name or index for `Classes`, a number for `Regression`.
    `t_ms`, `label_t_ms`: when it was asked, and when the outcome came, in milliseconds since 1970, UTC; all rows have
    both, or none has. With them the live experts learn from history how late outcomes are. A row that still waits when
    the history ends has `t_ms` alone, and the label None: without such rows, outcomes that come early seem the rule.

    >>> from shadowstream import Labelled
    >>> Labelled(features={"age": 31, "pages": 4}, label=1.0).label
    1.0
    >>> Labelled({"age": 31, "pages": 4}, 1.0, t_ms=1_700_000_000_000, label_t_ms=1_700_086_400_000).t_ms
    1700000000000
    >>> Labelled({"age": 31, "pages": 4}, None, t_ms=1_700_086_400_000).label_t_ms is None
    True
    """

    features: Any
    label: Label | None
    t_ms: int | None = None
    label_t_ms: int | None = None


class FeedEvent(NamedTuple):
    """One event of a recorded feed, for a replay.

    `t_ms`: its time, in milliseconds since 1970, UTC.
    `topic`: "requests" or "outcomes".
    `key`: the record's key; a request and its outcome have the same one.
    `value`: the record's value.

    >>> from shadowstream import FeedEvent
    >>> asked = FeedEvent(1_700_000_000_000, "requests", b"id-1", b'{"age": 31, "pages": 4}')
    >>> came = FeedEvent(asked.t_ms + 60_000, "outcomes", b"id-1", b'{"label": 1}')
    >>> came.key == asked.key
    True
    """

    t_ms: int
    topic: str
    key: bytes
    value: bytes


if TYPE_CHECKING:
    from learners.live.pool import Pool

NO_ROWS = (
    "pipeline {!r}: prune_structured chooses units of a trained model by rows of history, and there are none; add "
    "Pipeline(history=...), or take the step out of the recipe"
)
RECIPE = Recipe(Prune(amount=0.8, scope="lamp"), Quantize("int8"), Distill())


@named(ConfigError)
@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """A feed and the model that learns from it; a pipeline.py assigns it to `pipeline`.

    `name`: letters, digits, "-" and "_"; part of the topics' names and of the keys in the store.
    `features`: a type that msgspec can decode, usually a `msgspec.Struct`; a request's JSON is decoded into it.

    The rest has defaults:

    `encode`: turns N features into the model's positional inputs: a tuple of tensors whose first dimension is N.
    `model`: makes a new network, untrained, which maps the encoded inputs to outputs of shape (N, K); K is
        `task.outputs`. Give both or neither: without them the fields are read by their types, as they are.
    `task`: what is predicted, and its loss (`Binary`).
    `request`, `outcome`: functions that make a `Request` or an `Outcome` of a `Record`, or what `fields` returns. By
        default a request's value is the features and its key the id (`json_request`), and an outcome's value is
        `{"label": ...}` (`json_outcome`).
    `theirs`: for the shadow of another system, whose predictions are then the requests: the field of their JSON, or a
        function of a `Record`, that has what it answered; a probability for `Binary`, a list of K, or by name, for
        `Classes` and `MultiLabel`, a value for a regression.
    `recipe`: how the served model is compressed (80 % of the weights pruned by LAMP, int8, distilled); a `Recipe`, or
        its text.
    `online`: how teacher and shadow learn from each sample.
    `live`: what learns from each outcome at once and answers beside the model: `Live()`, or `Intercept()` for its
        intercept alone. The default is `Live()` where experts learn the task and can read a field of the features.
    `trust`: when outcomes are held for a person, not learned: `Trust()`, or `Trust(source=...)`; None: never.
    `promotion`: when candidates are made, and what they must prove.
    `slices`: the name of a field of the features, or several, such as "country" or "user.country": what was served is
        measured by its values, and the worst is shown.
    `history`: returns labelled rows, oldest first, on which the first version is trained; without it, that version is
        untrained.
    `feed`: returns a recorded feed in order of time, for a replay; `feed_ends_ms` is the time of its last event, for
        the progress bar.
    `seed`: of every random choice.
    `migrate`: where `features` are others than those in the log: a function that takes a row's JSON, such as a dict, as
        it is now or was before, and returns it as it is now. Each row of the log and each request goes through it.

    Raises:
        ConfigError: a part is unknown (the text has the nearest name), missing or of another kind, or the recipe or
            `online` needs a history that is missing.

    >>> import msgspec, torch
    >>> from shadowstream import Pipeline
    >>> class Visit(msgspec.Struct):
    ...     age: float
    ...     pages: float
    >>> pipeline = Pipeline(
    ...     name="visits",
    ...     features=Visit,
    ...     encode=lambda visits: (torch.tensor([[v.age, v.pages] for v in visits]),),
    ...     model=lambda: torch.nn.Linear(2, 1),
    ... )
    >>> inputs = pipeline.encode([Visit(31.0, 4.0), Visit(52.0, 1.0)])
    >>> pipeline.model()(*inputs).shape
    torch.Size([2, 1])
    >>> usual = Pipeline(name="visits", features=Visit)
    >>> usual.model()(*usual.encode([Visit(31.0, 4.0)])).shape
    torch.Size([1, 1])
    """

    name: str
    features: type
    model: Callable[[], nn.Module] = usual
    encode: Callable[[Sequence[Any]], tuple[Tensor, ...]] = usual
    task: Task = field(default_factory=Binary)
    request: Reader[Request] | Reader[Event] = json_request
    outcome: Reader[Outcome] | Reader[Event] = json_outcome
    recipe: Recipe = RECIPE
    theirs: str | Callable[[Record], Any] | None = None
    online: Online = field(default_factory=Online)
    live: Live | Intercept | None = None
    trust: Trust | None = None
    promotion: Promotion = field(default_factory=Promotion)
    slices: Sequence[str] = ()
    history: Callable[[], Iterable[Labelled]] | None = None
    feed: Callable[[], Iterable[FeedEvent]] | None = None
    feed_ends_ms: int | None = None
    seed: int = 0
    migrate: Migrate | None = None

    def __post_init__(self) -> None:
        if (self.model is usual) != (self.encode is usual):
            raise ConfigError(parts.HALF)
        parts.check_model(self.model)
        parts.check_takes("model", self.model)
        feeds.check(self, "encode", "request", "outcome")
        parts.check_takes("encode", self.encode, "a list of features")
        for name in ("request", "outcome"):
            parts.check_takes(name, getattr(self, name), "a Record")
        parts.check_theirs(self.theirs)
        parts.check_features(self.features)
        tasks.check_task(self.task)
        by = [getattr(part, "__self__", part) for part in (self.model, self.encode)]
        if by[0] is by[1] and (by[0] is usual or isinstance(by[0], Tabular)):  # the latter after `replace`
            tabular = tasks.tabular_of(self.features, self.task)
            object.__setattr__(self, "model", tabular.model)
            object.__setattr__(self, "encode", tabular.encode)
        object.__setattr__(self, "recipe", parts.recipe_of(self.recipe))
        parts.check_settings("online", self.online, Online)
        if self.online.private:
            learning.check_private(self.live, self.trust, self.history)
            object.__setattr__(self, "live", Intercept())
        object.__setattr__(self, "live", learning.live_of(self.live, self.task, self.features))
        learning.check_trust(self.trust, self.task, self.features)
        parts.check_settings("promotion", self.promotion, Promotion)
        if self.online.private and self.promotion.sync_ms is not None:
            raise ConfigError(
                f"pipeline {self.name!r}: Promotion(policy='continuous') and Online.private: what every sync tells "
                "of a sample is not counted; take another policy"
            )
        object.__setattr__(self, "slices", learning.slices_of(self.slices, self.features))
        recorded.check_rows("history", self.history, "labelled rows")
        recorded.check_rows("feed", self.feed, "events")
        for name in ("history", "feed"):
            if getattr(self, name) is not None:
                parts.check_takes(name, getattr(self, name))
        recorded.check_ends(self.feed_ends_ms)
        parts.check_seed(self.seed)
        if self.migrate is not None:
            feeds.check(self, "migrate")
            parts.check_takes("migrate", self.migrate, "a row's JSON")
        if self.recipe.first(PruneStructured) and not self.history:
            raise ConfigError(NO_ROWS.format(self.name))
        if self.online.refresh_every and not (self.recipe.first(Prune) and self.history):
            raise ConfigError(
                f"pipeline {self.name!r}: online.refresh_every is {self.online.refresh_every}, but the shadow has no "
                "masks to refresh: they come from a prune step in the recipe, carried out on the history; add both, "
                "or leave refresh_every at 0"
            )

    def encoder(self) -> Encoder:
        """Return what decodes features and encodes them."""
        return Encoder(self.features, self.encode, self.model, self.migrate)

    def experts(self) -> "Pool | None":
        """Return the live experts, which know nothing yet; None if there are none."""
        if not isinstance(self.live, Live):
            return None
        from learners.live.make import pool  # noqa: PLC0415 it takes 60 MB of each process, and half a second

        return pool(self.live, self.features, self.task)

    def running_trust(self) -> RunningTrust | None:
        """Return the trust in its sources, which has seen nothing yet; None where nothing is ever held."""
        if self.trust is None:
            return None
        return running_trust(self.trust, self.task, self.features)

    def as_feed(self) -> feeds.Feed:
        """Return what the join reads: the server's predictions, and outcomes with the task's targets as labels."""

        @wraps(self.outcome)
        def read(record: Record) -> Event:
            outcome = as_outcome(self.outcome(record), self.outcome)
            return labelled(outcome, self.task.target(outcome.label))

        asked = time_of(self.request)
        prediction = timed(checked(partial(read_prediction)), None if asked and asked.own else asked)
        return feeds.Feed(name=self.name, prediction=prediction, outcome=timed(checked(read), time_of(self.outcome)))


def load(path: Path) -> Pipeline:
    """Import a pipeline.py and return its `pipeline`.

    Raises:
        ConfigError: there is no such file, it does not import (the text has the line at fault), or it has no
            `pipeline`; where it has a `feed`, the text has the command for that.
    """
    module = loading.imported(path, "pipeline")
    if isinstance(getattr(module, "feed", None), feeds.Feed) and not hasattr(module, "pipeline"):
        raise ConfigError(f"{path} has a `feed`, of which no model learns: `shadowstream join {path}` joins it")
    return loading.attribute(module, path, "pipeline", Pipeline)


__all__ = ["FeedEvent", "Labelled", "Pipeline", "Record", "load"]
