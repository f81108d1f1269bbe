"""The registry's records, which last: what the roles and people write down for each other.

Owns names and fields. Notes on the board are in `notes.py`. Does not know who reads them.
"""

from datetime import UTC, datetime
from typing import Literal

import msgspec
from msgspec import Struct

from learners.evaluation.canary import ALL
from learners.evaluation.verdict import Against, Guard, Kind, vetoed


class Figures(Struct, frozen=True, kw_only=True):
    """An artifact's measured size, and how far its answers are from the student's.

    `sparsity` is the share of zeros among the weights of the compressed layers. None stands for a number that is not
    finite; such a candidate is refused.
    """

    sparsity: float
    artifact_bytes: int
    float_bytes: int
    parity_largest: float | None
    parity_changed: float | None
    loss: float | None
    teacher_loss: float | None
    seconds: float


class Proof(Struct, frozen=True, kw_only=True):
    """How far an engine's answers are from the artifact's on `rows` rows, as in `Parity`."""

    largest: float
    mean: float
    changed: float
    rows: int


class Width(Struct, frozen=True, kw_only=True):
    """A dimension of an input that differs from batch to batch: the sizes, `least` to `most`, that were proven."""

    input: int
    dimension: int
    least: int
    most: int


class Engine(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What runs a version in every role: its `arithmetic`, mixed, float or row8, by a template for onnxruntime.

    `template` and `ranges` are digests of blobs; only mixed has ranges. `widths` are of rows that differ in length:
    torch answers batches of others.
    """

    arithmetic: str
    template: str
    ranges: str | None
    proof: Proof
    widths: tuple[Width, ...] = ()


By = Engine | str | None  # an engine, or why torch runs the version; None in records of older releases


class Privacy(Struct, frozen=True, kw_only=True):
    """What a version's weights may tell of any one sample of the feed: (ε, δ) differential privacy."""

    epsilon: float
    delta: float


class Candidate(Struct, frozen=True, kw_only=True):
    """A compressed student, distilled from the state of `commit`, which had learned `learned` samples.

    `kind` says what it must prove. `reason` is that of the commit; `since_ms` is set where the world has changed, after
    the prediction of that time. With `by`, a person has brought it instead, when the learner was at `commit`, and
    `reason` is theirs. `pipeline` is the number of the pipeline that made it.
    """

    number: int
    commit: int
    learned: int
    at_ms: int
    reason: str
    artifact: str
    figures: Figures
    refused: str | None = None
    engine: By = None
    privacy: Privacy | None = None
    kind: Kind = Kind.REFRESH
    since_ms: int | None = None
    by: str = ""
    pipeline: int = 0

    @property
    def why(self) -> str:
        """Why it was made, in words.

        >>> figures = Figures(sparsity=0, artifact_bytes=1, float_bytes=1, parity_largest=0, parity_changed=0, loss=0,
        ...                   teacher_loss=0, seconds=0)
        >>> Candidate(number=1, commit=9, learned=900, at_ms=0, reason="drift", artifact="", figures=figures,
        ...           since_ms=1_380_758_400_000).why
        'drift since 3 October 2013'
        """
        if self.since_ms is None:
            return self.reason
        at = datetime.fromtimestamp(self.since_ms / 1000, UTC)
        return f"{self.reason} since {f'{at.day} {at:%B %Y}' if self.since_ms > 0 else 'the start'}"


class Evidence(Struct, frozen=True, kw_only=True):
    """What a version has proven before it served, against every version since its test began.

    All natural logarithms; log W of the one against which it is least must have reached `log_needed`. `waiting`
    predictions had no label by then; the test took `days` of event time. It has kept to the guard rails `guards`.
    """

    kind: Kind
    log_needed: float
    against: tuple[Against, ...]
    waiting: int
    days: float
    guards: tuple[Guard, ...] = ()

    def __str__(self) -> str:
        if not self.against:  # by a verdict of an older release
            return f"e^{self.log_needed:.1f} at least"
        least = min(self.against, key=lambda one: one.log_wealth)
        return f"e^{least.log_wealth:.1f} of e^{self.log_needed:.1f} after {least.samples:,} samples"


class Begun(Struct, frozen=True, kw_only=True):
    """Where a feed's first version is from, if that is another feed's registry, at the address `home`.

    It was that `feed`'s `version`; `record` is the SHA-256 of its record, as JSON, and `key` the name of the key that
    has signed it. Learning went on from the state of that feed's `commit`, after `learned` samples.
    """

    home: str
    feed: str
    version: int
    record: str
    key: str
    commit: int
    learned: int

    def __str__(self) -> str:
        return f"v{self.version} of {self.feed!r} in {self.home}"


class Champion(Struct, frozen=True, kw_only=True):
    """Version `number` of what is served: the highest one serves. `offset` is added to the artifact's raw output.

    `evidence` is text for what was not tested, and in records of older releases. `commit` is the learner's newest one
    when it was decided. Where an earlier version came back, `back_to` is that. `by` is who decided, "" for the gate,
    `because` why; `order` is that person's order.

    A canary answers a `share` of the requests (learners/evaluation/canary.py); the newest version before it that has
    answered all, its `base`, answers the rest. With each step of its share it is another version. The first version
    of a feed that began with what another one has learned says where it is from, `begun`.

    A sync is the shadow's average as it was after the commit `commit`, which serves in the place of version `sync_of`:
    that one was tested, and comes back where its syncs are worse. `candidate` is that version's.
    """

    number: int
    artifact: str
    candidate: int | None
    offset: tuple[float, ...]
    at_ms: int
    learned: int
    evidence: Evidence | str
    engine: By = None
    privacy: Privacy | None = None
    commit: int | None = None
    back_to: int | None = None
    by: str = ""
    because: str = ""
    order: int | None = None
    share: float = ALL
    begun: Begun | None = None
    sync_of: int | None = None

    @property
    def reign(self) -> str:
        """What versions have in common that serve as one: another share of a canary, or the next sync of a version."""
        return self.artifact if self.sync_of is None else f"syncs of v{self.sync_of}"


def brief(champion: Champion) -> bytes:
    """Return a version's record; that of a sync, of which there are thousands a day, says only what is set.

    >>> first = Champion(number=0, artifact="", candidate=None, offset=(0.0,), at_ms=0, learned=0, evidence="")
    >>> brief(msgspec.structs.replace(first, number=1, sync_of=0))
    b'{"number":1,"artifact":"","candidate":null,"offset":[0.0],"at_ms":0,"learned":0,"evidence":"","sync_of":0}'
    """
    if champion.sync_of is None:
        return encode(champion)
    said = msgspec.structs.asdict(champion)
    usual = {one.name: one.default for one in msgspec.structs.fields(Champion) if not one.required}
    return encode({name: value for name, value in said.items() if name not in usual or value != usual[name]})


def champion_follows(champion: Champion) -> list[tuple[str, int]]:
    """Return what a version follows from: a sync from its commit, and through the one before it from what was tested.

    >>> first = Champion(number=0, artifact="", candidate=None, offset=(0.0,), at_ms=0, learned=0, evidence="")
    >>> champion_follows(msgspec.structs.replace(first, number=5, candidate=2))
    [('champion', 4), ('candidates', 2), ('verdicts', 2), ('steps', 4)]
    >>> champion_follows(msgspec.structs.replace(first, number=6, candidate=2, commit=90, sync_of=5))
    [('champion', 5), ('commits', 90)]
    """
    before = ("champion", champion.number - 1) if champion.number else ("commits", 0)
    if champion.sync_of is not None:
        return [before, *([] if champion.commit is None else [("commits", champion.commit)])]
    made = [] if champion.candidate is None else [(kind, champion.candidate) for kind in ("candidates", "verdicts")]
    return [before, *made, ("steps", champion.number - 1)]  # if a canary's step has made it


class CanaryStep(Struct, frozen=True, kw_only=True):
    """How a step of a canary ended, the version `version`, which answered a `share` of the requests.

    `own` of its predictions had outcomes. Beside version `against`, which answered the rest, its `gain` is the mean of
    loss(against) − loss(canary) over `samples`: both were asked all requests, and scored. Its guard rails are `guards`;
    without a broken one the share grows. `commit` has decided, at the event time `at_ms`.
    """

    version: int
    share: float
    own: int
    against: int
    samples: int
    gain: float
    guards: tuple[Guard, ...]
    at_ms: int
    commit: int

    @property
    def passed(self) -> bool:
        """Whether no guard rail was broken."""
        return not vetoed(self.guards)

    def __str__(self) -> str:
        if not self.passed:
            return f"v{self.version}: {vetoed(self.guards)}"
        return (
            f"{self.own:,} answers at {100 * self.share:g} % of requests; gain {self.gain:+.4f} beside "
            f"v{self.against} over {self.samples:,} samples"
        )


class Alarm(Struct, frozen=True, kw_only=True):
    """What serves, version `champion`, was seen to be worse than version `back_to`, which served before.

    `detector` says by which: its evidence, `log_r` of `log_needed`, natural logarithms, over `samples` with a mean
    `gain` of loss(back_to) − loss(champion), since the prediction of `since_ms`. `old`: the version is no predecessor,
    but an earlier one. `offset` (K,) is its intercept, less the one that serves. `at_ms` is the event time at which it
    was seen, by what the commit `commit` has brought.

    Of the kind "guard", it broke the guard rail `guard`, and of "mismatch", servers did not answer what torch computes
    of the `artifact`: then torch serves it, and nothing goes back. These have no detector's evidence.
    """

    number: int
    champion: int
    back_to: int
    old: bool
    detector: str
    log_r: float
    log_needed: float
    samples: int
    gain: float
    since_ms: int
    offset: tuple[float, ...]
    at_ms: int
    commit: int
    kind: Literal["rollback", "guard", "mismatch"] = "rollback"
    guard: Guard | None = None
    artifact: str = ""

    def __str__(self) -> str:
        if self.guard:
            return f"v{self.champion}: {self.guard.said}"
        evidence = f"e^{self.log_r:.1f} of e^{self.log_needed:.1f} after {self.samples:,} samples"
        return f"v{self.champion} is worse than v{self.back_to}: {evidence}, {self.detector} detector"


class Order(Struct, frozen=True, kw_only=True):
    """What a person wants: promote a version or a candidate, go back, pause or resume what happens by itself.

    `version`: which one to promote, or to go back to; None: the one before. `candidate`: which one to promote instead.
    `commit` was the learner's newest then.
    """

    number: int
    what: Literal["promote", "rollback", "pause", "resume"]
    version: int | None
    candidate: int | None
    who: str
    why: str
    at_ms: int
    commit: int


class Described(Struct, frozen=True, kw_only=True):
    """What the pipeline was, by part, from a start on at which it was another than before (`deploy/changes/parts.py`).

    `commit` was the learner's newest one then. Where it learns the log again, `first` is the digest of a learner's
    state before the log's first sample; None: learning goes on from the state that is there. `code` is the digest of
    the texts of its files. With `lineage` its model is another one: versions of before are asked by the code of before.
    """

    number: int
    commit: int
    parts: dict[str, dict[str, str]]
    first: str | None = None
    code: str | None = None
    lineage: bool = False


class Base(Struct, frozen=True, kw_only=True):
    """Where the log begins, since the samples of all commits before were let go (`registry.keep_samples`).

    `number` is the first commit that is read, `chain` the SHA-256 of its line, and `state` the object that is the whole
    state after it, from which all that is learned again begins. Of the commits before, `rounds` took samples back, and
    so many themselves named a state (`states`); they had so many `samples`, and by shard so many entries that were
    `learned`, that nothing has learned as they were `held`, and that were `quarantined`. `until_ms` is the latest time
    of a prediction or outcome among them.
    """

    number: int
    chain: str
    state: str
    states: int
    rounds: int
    samples: int
    learned: dict[int, int]
    held: dict[int, int]
    quarantined: dict[int, int]
    until_ms: int


encode = msgspec.json.Encoder().encode
