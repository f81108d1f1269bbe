"""What the roles put on the feed's board for all to see: the newest note of a kind counts, and it may be lost.

Owns fields. Does not know who reads them.
"""

from collections.abc import Iterable
from typing import NamedTuple

from msgspec import Struct

from deploy.registry.records import By
from learners.evaluation.drift import Change
from learners.evaluation.verdict import Against, Guard


class StartNote(Struct, frozen=True):
    """What a run doubted at its start, a line each."""

    warnings: list[str]


class SliceNote(Struct, frozen=True):
    """A slice of a replay by its number, of which all requests, or all outcomes, are published, up to these `ends`:
    next offsets by `topic:partition`.
    """

    number: int
    ends: dict[str, int]


class ServerNote(Struct, frozen=True):
    """How far a server is: next offsets by `topic:partition`, of requests read and predictions written.

    `served` requests were answered since the server began and `refused` were not, and it has the `partitions` now.
    `engines` has a line for people on what runs the version, none where engines are off.
    """

    requests: dict[str, int]
    predictions: dict[str, int]
    version: int
    served: int
    engines: tuple[str, ...] = ()
    partitions: tuple[int, ...] = ()
    refused: int = 0

    @classmethod
    def of(cls, notes: "Iterable[ServerNote]") -> "ServerNote | None":
        """Return how far serving is where several serve: a partition is as far as any has been in it, the version is
        the one that all have at least; None without any.
        """
        every = list(notes)
        if len(every) < 2:
            return every[0] if every else None
        return cls(
            requests=_furthest(one.requests for one in every),
            predictions=_furthest(one.predictions for one in every),
            version=min(one.version for one in every),
            served=sum(one.served for one in every),
            engines=next((one.engines for one in every if one.engines), ()),
            partitions=tuple(sorted({n for one in every for n in one.partitions})),
            refused=sum(one.refused for one in every),
        )


def _furthest(offsets: Iterable[dict[str, int]]) -> dict[str, int]:
    found: dict[str, int] = {}
    for one in offsets:
        found |= {tp: max(offset, found.get(tp, 0)) for tp, offset in one.items()}
    return found


class Distrusted(Struct, frozen=True):
    """A source whose outcomes are held, since when, and until when if nobody judges it; None: until it is released.

    Times are event times in ms. `excess` is its loss above what its answers expect, in nats a sample.
    """

    source: str
    since_ms: int
    until_ms: int | None
    excess: float


class BrokenNote(Struct, frozen=True):
    """What a server has found: `version`, which serves, breaks a guard rail on the newest `rows` requests.

    `artifact` is that version's. The version `before` was asked the same, and would come back.
    """

    version: int
    artifact: str
    before: int
    rows: int
    guard: Guard


class SyncNote(Struct, frozen=True, kw_only=True):
    """The shadow's average after the commit `commit`, which may serve in the place of version `of`.

    `offset` (K,) is added to its artifact's outputs, `engine` runs it, and it has kept to the guard rails `guards`.
    """

    commit: int
    of: int
    artifact: str
    offset: tuple[float, ...]
    engine: By
    guards: tuple[Guard, ...]


class LearnerNote(Struct, frozen=True):
    """How far learning is; the servers take the live intercept from here, and the joiners `marks_ms`.

    `drafted` entries are learned and in no commit yet. At the ages `marks_ms` the join marks each prediction that still
    waits. `live` says, for people, when live experts learn. `distrusted` sources are held. `synced` is the commit of
    the newest average that was offered to the servers.
    """

    learned: int
    intercept: tuple[float, ...]
    positions: dict[str, str]
    commit: int
    watermark_ms: int
    drafted: int = 0
    marks_ms: tuple[int, ...] = ()
    live: str = ""
    distrusted: tuple[Distrusted, ...] = ()
    synced: int = -1


class BlocksNote(NamedTuple):
    """Which block is the newest (deploy/learning/blocks.py): its learner's run, its number, and its base's."""

    run: int
    number: int
    base: int


class DistillerNote(Struct, frozen=True):
    """The last commit taken and the last candidate made."""

    commit: int
    candidate: int


class TrialNote(Struct, frozen=True):
    """A candidate's test so far, against the version `against`, the one that it has beaten least.

    `samples` with labels were compared, `waiting` predictions have none yet. `log_wealth` is the natural logarithm of
    the evidence W, `log_needed` that of what proves, `gain` the mean of loss(champion) − loss(candidate). It is proven
    in `days` of event time if the evidence goes on to grow as it has; None if it does not grow.
    """

    candidate: int
    samples: int
    log_wealth: float
    log_needed: float
    against: int = 0
    gain: float = 0.0
    waiting: int = 0
    days: float | None = None


class BesideNote(Struct, frozen=True):
    """What we serve beside what another system answered: the evidence, of `log_needed`.

    `since_ms`: when ours would have taken its place; None while that is not proven.
    """

    against: Against
    log_needed: float
    since_ms: int | None


class CanaryNote(Struct, frozen=True):
    """How far the step of a canary is, the version `version`: `own` predictions with outcomes of `needed`, or `days`
    of `needed_days`; and its `gain` over `samples`, as in `CanaryStep`.
    """

    version: int
    own: int
    needed: int
    days: float
    needed_days: float
    samples: int
    gain: float


class EvaluatorNote(Struct, frozen=True):
    """The last commit taken, the last candidate begun, how many verdicts and alarms there are, and the trials that run.

    `doubt` says why few candidates or none can be proven, as the feed is; "" if nothing is in the way. `beside` is for
    the shadow of another system, and `canary` while one serves.
    """

    commit: int
    candidate: int
    verdicts: int
    trials: tuple[TrialNote, ...]
    doubt: str = ""
    alarms: int = 0
    beside: BesideNote | None = None
    canary: CanaryNote | None = None


class MetricName(Struct, frozen=True):
    """A metric of the task as people see it; `unit` is "" where it has none."""

    name: str
    unit: str


class Row(Struct, frozen=True):
    """How well one model answered `count` samples: values by the metric's name, None where there is no value yet."""

    count: int
    values: dict[str, float | None]


class Worst(Struct, frozen=True):
    """The slice whose loss is the farthest above that of all samples."""

    field: str
    value: str


class Metrics(Struct, frozen=True):
    """How well each model did, in all and by month of prediction ("2013-02", UTC).

    `names` are those of the task's metrics, its loss first. The models are `learners.evaluation.evaluate.MODELS`.
    `slices` is what was served, by field and value, and `worst` the worst slice.
    """

    names: tuple[MetricName, ...]
    total: dict[str, Row]
    months: dict[str, dict[str, Row]]
    slices: dict[str, dict[str, Row]] = {}
    worst: Worst | None = None


class DriftNote(Struct, frozen=True):
    """The newest change of each field that has changed, the newest first."""

    changes: list[Change]


class ConductorNote(Struct, frozen=True):
    """How many verdicts and alarms were handled, and the champion that follows from them.

    `waits` says why a person is waited for, "" if nobody is. `synced` is the commit of the newest average that was
    decided on.
    """

    verdicts: int
    version: int
    alarms: int = 0
    waits: str = ""
    synced: int = -1
