"""What a start of a pipeline will do: begin, go on as it is, go on with changes, or refuse.

Owns the decision. Does not start anything, and writes only what a start that goes on was made of.
"""

from msgspec import Struct
from msgspec.structs import replace

from deploy.changes.compare import BY_ANSWERS, Change, compare
from deploy.changes.parts import parts_of
from deploy.changes.record import Again, again, unfit, unreadable
from deploy.learning.bootstrap import begin
from deploy.loading import users_code
from deploy.pipeline import Pipeline
from deploy.registry.kinds import CHAMPIONS, COMMITS, PIPELINES
from deploy.registry.records import Described
from deploy.registry.registry import Registry
from learners.commits.state import pack_state
from streams.errors import ConfigError
from streams.join.policy import JoinPolicy

READ = ("features", "migrate")  # parts by which the log's rows are read
LEARNED = ("features", "model", "recipe", "online", "live", "trust", "migrate")  # by which a state may not fit any more
ANEW = (
    "give the pipeline another name, and it begins beside this one; or put it back; or --fresh deletes what was learned"
)
MIGRATE = (
    "give what is new a default, or set Pipeline(migrate=...): a function that takes a row's JSON as a dict, old or "
    "new, and returns it as the features are now"
)


class Plan(Struct, frozen=True, kw_only=True):
    """What a start will do. `begins`: nothing has served yet, so there is nothing to compare.

    `changes`: what is another than at the last start. `read`: so many rows of the log were read as the features of
    today. `answered`: so many of the newest samples were answered again by version `version`, and `apart` says how its
    answers differ from what it said then. `again`: the log is learned again. `refused` is why it will not start, with
    the way out.
    """

    feed: str
    begins: bool = False
    changes: tuple[Change, ...] = ()
    read: int = 0
    answered: int = 0
    version: int | None = None
    apart: str | None = None
    again: bool = False
    refused: str | None = None

    @property
    def lines(self) -> list[str]:
        """What to say of it, a line each; none where nothing has changed."""
        if self.begins:
            return []
        said = [f"changed: {one} ({one.why})" if one.why else f"changed: {one}" for one in self.changes]
        if self.changes and self.answered and self.apart is None:
            said.append(f"v{self.version} answers {self.answered} samples of the log as it did")
        if self.again:
            said.append("what was learned does not fit that: the learner learns the log again, and a candidate follows")
        if self.apart is not None and self.refused is None:
            said.append(
                f"v{self.version} does not answer as it did, and nothing of yours is known to be why: {self.apart}"
            )
        return said

    def check(self) -> None:
        """Raise an error where it will not start.

        Raises:
            ConfigError: says what has changed, and the way out.
        """
        if self.refused is not None:
            raise ConfigError(f"pipeline {self.feed!r} has changed: {self.refused}")


def plan(pipeline: Pipeline, join: JoinPolicy, registry: Registry, *, engines: bool = True) -> Plan:
    """Return what a start will do; nothing is written.

    Raises:
        ConfigError: one of the pipeline's functions raises; names its line.
    """
    if registry.last(CHAMPIONS) < 0:
        return Plan(feed=pipeline.name, begins=True)
    with users_code("Pipeline"):
        before = registry.record(PIPELINES, registry.last(PIPELINES))
        changes = compare(before.parts, parts_of(pipeline, join)) if before else []
        return _decided(pipeline, registry, changes, engines=engines)


def describe(pipeline: Pipeline, join: JoinPolicy, registry: Registry, *, again: bool = False) -> None:
    """Write down what the pipeline is, where it is not what was written down last: from then on it is so.

    With `again`, the learner then learns the log again, from a state that has learned today's history.
    """
    last = registry.last(PIPELINES)
    before, parts = registry.record(PIPELINES, last), parts_of(pipeline, join)
    if before is not None and before.parts == parts:
        return
    first = registry.put(pack_state(begin(pipeline, registry)[0].state())) if again else None
    made = Described(number=last + 1, commit=registry.last(COMMITS), parts=parts, first=first)
    registry.create(PIPELINES, made.number, made)


def _decided(pipeline: Pipeline, registry: Registry, changes: list[Change], *, engines: bool) -> Plan:
    made = Plan(feed=pipeline.name, changes=tuple(changes))
    parts = {one.part for one in changes}
    first = next((one for one in changes if one.follows == "refused"), None)
    if first is not None:
        return replace(made, refused=f"{first}: {first.why}")
    if parts & {*READ}:
        count, why = unreadable(pipeline, registry)
        made = replace(made, read=count)
        if why is not None:
            return replace(made, refused=f"{_of(changes, READ)}: a row of the log cannot be read, {why}. {MIGRATE}")
    lineage = next((one for one in changes if one.follows == "lineage"), None)
    if lineage is not None:
        return replace(made, refused=f"{lineage}: {lineage.why}; {ANEW}")
    return _compared(made, parts, pipeline, registry, engines=engines)


def _compared(made: Plan, parts: set[str], pipeline: Pipeline, registry: Registry, *, engines: bool) -> Plan:
    """Return the plan with what the state and the artifacts have to say."""
    found: Again = again(pipeline, registry, engines=engines)
    made = replace(made, answered=found.rows, version=found.version if found.rows else None, apart=found.apart)
    asked = parts & {*BY_ANSWERS, *READ}
    if found.apart is not None and asked:
        why = f"v{found.version} would answer otherwise than it did: {found.apart}"
        return replace(made, refused=f"{_of(made.changes, asked)}: {why}; {ANEW}")
    if not found.rows and asked & {*BY_ANSWERS}:
        why = (
            "nothing was answered yet by which to see whether it does the same; --fresh begins anew, and loses nothing"
        )
        return replace(made, refused=f"{_of(made.changes, BY_ANSWERS)}: {why}")
    afresh = "recipe" in parts or (bool(parts & {*LEARNED}) and unfit(pipeline, registry) is not None)
    if afresh and pipeline.online.private:
        why = "the log would have to be learned again, and Online.private counts each sample once"
        return replace(made, refused=f"{_of(made.changes, LEARNED)}: {why}; {ANEW}")
    return replace(made, again=afresh)


def _of(changes: "tuple[Change, ...] | list[Change]", parts: "tuple[str, ...] | set[str]") -> str:
    """Return the first changes of some parts, in words."""
    return "; ".join(str(one) for one in changes if one.part in parts)
