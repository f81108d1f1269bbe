"""What a start of a pipeline will do: begin, go on as it is, go on with changes, or refuse.

Owns the decision. Does not start anything, and writes only what a start that goes on was made of.
"""

from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from deploy.changes.compare import BY_ANSWERS, OTHER_MODEL, Change, compare
from deploy.changes.parts import parts_of
from deploy.changes.record import again, unfit, unreadable
from deploy.learning.bootstrap import begin
from deploy.lineages import keep, kept
from deploy.loading import sources, users_code
from deploy.pipeline import Pipeline
from deploy.registry.kinds import CHAMPIONS, COMMITS, PIPELINES
from deploy.registry.records import Described
from deploy.registry.registry import Registry
from deploy.registry.states import kept as states
from streams.errors import ConfigError, RegistryError
from streams.join.policy import JoinPolicy

READ = ("features", "migrate")  # parts by which the log's rows are read
LEARNED = ("features", "model", "recipe", "online", "live", "trust", "migrate")  # by which a state may not fit any more
ANEW = (
    "give the pipeline another name, and it begins beside this one; or put it back; or --fresh deletes what was learned"
)
PRIVATE = "the log would have to be learned again, and Online.private counts each sample once"
LET_GO = (
    "the log would have to be learned again, and it begins at commit {}, as older samples were let go "
    "(registry.keep_samples)"
)
AGAIN = "what was learned does not fit that: the learner learns the log again, and a candidate follows"
LINEAGE = "the new model learns the log, and a candidate follows; versions of before serve on by the code of before"
MIGRATE = (
    "give what is new a default, or set Pipeline(migrate=...): a function that takes a row's JSON as a dict, old or "
    "new, and returns it as the features are now"
)


class Plan(Struct, frozen=True, kw_only=True):
    """What a start will do. `begins`: nothing has served yet, so there is nothing to compare.

    `changes`: what is another than at the last start. `read`: so many rows of the log were read as the features of
    today. `answered`: so many of the newest samples were answered again by version `version`, and `apart` says how its
    answers differ from what it said then. `again`: the log is learned again. `lineage`: by another model, and versions
    of before are asked by the code of before. `refused` is why it will not start, with the way out; so is
    `without_log`, whatever has changed: an embedded broker no longer has the feed's log.
    """

    feed: str
    begins: bool = False
    changes: tuple[Change, ...] = ()
    read: int = 0
    answered: int = 0
    version: int | None = None
    apart: str | None = None
    again: bool = False
    lineage: bool = False
    refused: str | None = None
    without_log: str | None = None

    @property
    def lines(self) -> list[str]:
        """What to say of it, a line each; none where nothing has changed."""
        if self.begins:
            return []
        said = [f"changed: {one} ({one.why})" if one.why else f"changed: {one}" for one in self.changes]
        if self.changes and self.answered and self.apart is None:
            said.append(f"v{self.version} answers {self.answered} samples of the log as it did")
        said += [LINEAGE] if self.lineage else [AGAIN] if self.again else []
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
        if self.without_log is not None:
            raise ConfigError(self.without_log)


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


def describe(
    pipeline: Pipeline,
    join: JoinPolicy,
    registry: Registry,
    *,
    path: Path | None = None,
    again: bool = False,
    lineage: bool = False,
) -> None:
    """Write down what the pipeline is, where that or its code is not what was written down last.

    Keep the code of its file, `path`. With `again`, the learner then learns the log again, from a state that has
    learned today's history; with `lineage` versions of before are asked by the code of before.
    """
    last = registry.last(PIPELINES)
    before, parts = registry.record(PIPELINES, last), parts_of(pipeline, join)
    code = keep(registry, sources(path)) if path else None
    if before is not None and (before.parts, before.code) == (parts, code or before.code):
        return
    first = states.put(registry, begin(pipeline, registry)[0]) if again else None
    made = Described(
        number=last + 1,
        commit=registry.last(COMMITS),
        parts=parts,
        first=first,
        code=code,
        lineage=lineage,
    )
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
    if any(one.follows == "lineage" for one in changes):
        return _another(made, registry, pipeline, engines=engines)
    return _compared(made, parts, pipeline, registry, engines=engines)


def _compared(made: Plan, parts: set[str], pipeline: Pipeline, registry: Registry, *, engines: bool) -> Plan:
    """Return the plan with what the state and the artifacts have to say."""
    found = again(pipeline, registry, engines=engines)
    asked = parts & {*BY_ANSWERS, *READ}
    if asked and (found.apart is not None or (not found.rows and parts & {*BY_ANSWERS})):
        differ = [
            replace(one, follows="lineage", why=OTHER_MODEL) if one.part in asked else one for one in made.changes
        ]
        return _another(replace(made, changes=tuple(differ)), registry, pipeline, engines=engines)
    made = replace(made, answered=found.rows, version=found.version if found.rows else None, apart=found.apart)
    afresh = "recipe" in parts or (bool(parts & {*LEARNED}) and unfit(pipeline, registry) is not None)
    if afresh and (first := registry.begins()):
        return replace(made, refused=f"{_of(made.changes, LEARNED)}: {LET_GO.format(first)}; {ANEW}")
    if afresh and pipeline.online.private:
        return replace(made, refused=f"{_of(made.changes, LEARNED)}: {PRIVATE}; {ANEW}")
    return replace(made, again=afresh)


def _another(made: Plan, registry: Registry, pipeline: Pipeline, *, engines: bool) -> Plan:
    """Return the plan of a new lineage: what serves must be able to serve on, by the code of before."""
    parts = {*BY_ANSWERS, *(one.part for one in made.changes if one.follows == "lineage")}
    changes = [replace(one, follows="lineage", why=OTHER_MODEL) if one.part in parts else one for one in made.changes]
    what, made = "; ".join(str(one) for one in changes if one.part in parts), replace(made, changes=tuple(changes))
    if first := registry.begins():
        return replace(made, refused=f"{what}: {LET_GO.format(first)}; {ANEW}")
    if pipeline.online.private:
        return replace(made, refused=f"{what}: {PRIVATE}; {ANEW}")
    try:
        before = kept(registry, registry.record(PIPELINES, registry.last(PIPELINES)))
        found = again(before, registry, engines=engines)
        why = found.apart
    except (RegistryError, ConfigError) as wrong:
        return replace(made, refused=f"{what}: another model, and what serves cannot serve on: {wrong}; {ANEW}")
    if why is not None:
        why = f"another model, and by its kept code v{found.version} answers otherwise than it did: {why}"
        return replace(made, refused=f"{what}: {why}; {ANEW}")
    version = found.version if found.rows else None
    return replace(made, answered=found.rows, version=version, again=True, lineage=True)


def _of(changes: "tuple[Change, ...] | list[Change]", parts: "tuple[str, ...] | set[str]") -> str:
    """Return the first changes of some parts, in words."""
    return "; ".join(str(one) for one in changes if one.part in parts)
