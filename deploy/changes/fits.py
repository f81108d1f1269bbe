"""Whether a pipeline can begin with what another registry's has learned: compared by part, as at a start.

Owns which parts must be the same. Does not know what is taken.
"""

from typing import NamedTuple

from deploy.changes.compare import Change, compare
from deploy.changes.parts import parts_of
from deploy.changes.record import again
from deploy.loading import users_code
from deploy.pipeline import Pipeline
from deploy.registry.kinds import PIPELINES
from deploy.registry.registry import Registry
from streams.errors import ConfigError
from streams.join.policy import JoinPolicy

WEIGHTS = {  # parts that weights are of
    "model": "the weights are of that one",
    "recipe": "its masks and units are of that one",
}
ANSWERS = ("features", "encode", "model", "migrate")  # by which an answer may be another one
READ = ("features", "live", "migrate")  # by which live experts read a row
OUT = "begin with the pipeline as it is there, and change it afterwards; without --from it begins anew"


class Fit(NamedTuple):
    """That it fits: `lines` say what is another, `live` why the live experts begin anew, None if nothing is known."""

    lines: list[str]
    live: str | None


def fit(pipeline: Pipeline, join: JoinPolicy, other: Registry, *, engines: bool = True) -> Fit:
    """Return how a pipeline fits what another registry's has learned; nothing is written.

    Raises:
        ConfigError: it does not; names the part, and the way out.
    """
    before = other.record(PIPELINES, other.last(PIPELINES))
    with users_code("Pipeline"):
        changes = compare(before.parts, parts_of(pipeline, join)) if before else []
        for one in changes:
            if one.follows == "refused":
                _refuse(other, f"{one}: {one.why.partition(':')[0]}")
            if one.part in WEIGHTS and one.name != "layers":
                _refuse(other, f"{one}: {WEIGHTS[one.part]}")
        asked = [one for one in changes if one.part in ANSWERS]
        if asked or before is None:
            found = again(pipeline, other, engines=engines)
            if found.apart is not None or (asked and not found.rows):
                why = found.apart or "nothing is in its log to show that answers stay the same"
                _refuse(other, f"{_all(asked) or 'the pipeline'}: v{found.version} answers otherwise: {why}")
    read = [one for one in changes if one.part in READ]
    return Fit([f"another than there: {one}" for one in changes], _all(read) or None)


def _all(changes: list[Change]) -> str:
    return "; ".join(map(str, changes))


def _refuse(other: Registry, why: str) -> None:
    raise ConfigError(f"--from {other.home} does not fit this pipeline: {why}. {OUT}")
