"""Every name under which something is written down or reported, and what it means.

Owns the names of record kinds, board notes, operators' notes, counters and a run's figures. The tables, `--json`, the
registry's files and the board all have them from here. Two kinds of names live elsewhere: a task names its own metrics
(`learners/tasks/`), and the verifier the reasons for a difference (`streams/audit/verify.py`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec
from msgspec import Struct

from deploy.registry import records
from deploy.registry.folds import FOLDS
from deploy.registry.freshness import ArrivalsNote, FreshNote
from deploy.registry.log.bundles import VERSIONS
from deploy.registry.log.segments import BASE, INDEX, LOG, TAIL
from deploy.registry.notes import (
    BlocksNote,
    BrokenNote,
    ConductorNote,
    DistillerNote,
    DriftNote,
    EvaluatorNote,
    LearnerNote,
    Metrics,
    ServerNote,
    SliceNote,
    StartNote,
    SyncNote,
)
from deploy.registry.pulse import PulseNote
from deploy.registry.records import Alarm, Base, CanaryStep, Candidate, Champion, Described, Order
from deploy.registry.runs import RUNS
from deploy.registry.states.names import STATES
from learners.commits import commit as commits
from learners.commits.commit import Commit, Ruling
from learners.evaluation.verdict import MODELS, Verdict
from learners.tasks.names import AUC, LOG_LOSS

T = TypeVar("T", bound=Struct)
N = TypeVar("N")
SUFFIX = ".json"


@dataclass(frozen=True)
class Kind(Generic[T]):
    """Numbered records in the registry, `NAME/00000000.json` the first of them; commits are kept by `log/`.

    A record that `follows` from others is sealed (`seals.py`): names the kinds and numbers of these.
    """

    name: str
    means: str
    decode: Callable[[bytes], T]
    encode: Callable[[T], bytes] = records.encode
    follows: Callable[[T], Sequence[tuple[str, int]]] | None = None

    def path(self, folder: Path, number: int) -> Path:
        """Return the file of a record in a registry's folder."""
        return folder / self.object(number)

    def object(self, number: int) -> str:
        """Return the name of a record's object."""
        return f"{self.name}/{number:08}{SUFFIX}"

    def number(self, name: str) -> int:
        """Return the number of a record by its object's name."""
        return int(name.rpartition("/")[2].removesuffix(SUFFIX))


@dataclass(frozen=True)
class Note(Generic[N]):
    """A note on the feed's board in the store: the newest one counts, and it may be lost."""

    name: str
    means: str
    of: type[N]

    def entry(self, note: N, name: str = "") -> dict[str, bytes]:
        """Return what the store puts on the board; one of several roles has a name of its own."""
        return {name or self.name: records.encode(note)}

    def read(self, data: bytes | None) -> N | None:
        """Return the note that the store has returned; None without one, or if another version wrote it otherwise."""
        try:
            return None if data is None else msgspec.json.decode(data, type=self.of)
        except msgspec.DecodeError:
            return None


COMMITS: Kind[Commit] = Kind(
    "commits",
    "what the learner learned, in order, and the position in the join's samples",
    commits.decode,
    commits.encode,
)
CANDIDATES = Kind(
    "candidates",
    "artifacts distilled from the learner's state, with their figures, or why one was refused",
    msgspec.json.Decoder(Candidate).decode,
    follows=lambda candidate: [("commits", candidate.commit)],
)
VERDICTS = Kind(
    "verdicts",
    "how a candidate's test ended, with its evidence",
    msgspec.json.Decoder(Verdict).decode,
    follows=lambda verdict: [("candidates", verdict.candidate), ("commits", verdict.commit)],
)
CHAMPIONS = Kind(
    "champion",
    "the versions that have served, in order",
    msgspec.json.Decoder(Champion).decode,
    records.brief,
    follows=records.champion_follows,
)
STEPS = Kind(
    "steps",
    "how a step of a canary ended, by the version's number",
    msgspec.json.Decoder(CanaryStep).decode,
    follows=lambda step: [("champion", step.version), ("commits", step.commit)],
)
ALARMS = Kind(
    "alarms",
    "what serves was seen to be worse than a version before it, broken, or not what torch computes",
    msgspec.json.Decoder(Alarm).decode,
    follows=lambda alarm: [("champion", alarm.champion), ("champion", alarm.back_to), ("commits", alarm.commit)],
)
ORDERS = Kind(
    "orders",
    "what people have ordered: promote, roll back, pause, resume; who and why",
    msgspec.json.Decoder(Order).decode,
    follows=lambda order: [("orders", order.number - 1)] if order.number else [],
)
RULINGS = Kind("rulings", "what people have said of sources that are held", msgspec.json.Decoder(Ruling).decode)
PIPELINES = Kind(
    "pipelines",
    "what the pipeline was, by part, at each start at which it was another than before",
    msgspec.json.Decoder(Described).decode,
    follows=lambda described: [("pipelines", described.number - 1)] if described.number else [],
)
BASES = Kind(
    BASE,
    "where the log begins, by the number of its first commit, once old samples were let go; the newest counts",
    msgspec.json.Decoder(Base).decode,
    follows=lambda base: [("commits", base.number)],
)
KINDS: tuple[Kind[Any], ...] = (
    COMMITS, CANDIDATES, VERDICTS, CHAMPIONS, STEPS, ALARMS, ORDERS, RULINGS, PIPELINES, BASES,
)  # fmt: skip
BLOBS = "blobs"
ASIDE = ".gone-"  # before the name of a blob that is about to go
FROZEN = "frozen"
ENGINES = "engines"
FOLDERS = {
    BLOBS: "artifacts, the learner's first state, engines' templates and ranges, each under its SHA-256",
    STATES: "the learner's whole states, each under its commit's number and SHA-256 (deploy/registry/states/)",
    FROZEN: "parameters that do not learn, each once for all states (deploy/registry/states/kept.py)",
    TAIL: "the newest commits, an object each: the learner's JSON, compressed (deploy/registry/log/)",
    LOG: "commits that were sealed, many to a segment, LAST-FIRST (deploy/registry/log/sealer.py)",
    INDEX: "which of these segments may hold a sample of an id (deploy/registry/log/index.py)",
    VERSIONS: "syncs of long before, many to an object, LAST-FIRST (deploy/registry/log/bundler.py)",
    FOLDS: "what a role has made of the commits up to one, to go on from there (deploy/registry/folds.py)",
    ENGINES: "which template belongs to an architecture, under the architecture's key (deploy/engine.py)",
    RUNS: "who has run the feed, and since when; the newest run has it (deploy/registry/runs.py)",
}

START = Note("start", "what the run doubted at its start, such as settings of the topics", StartNote)
ASKED = Note("asked", "the slice of a replay whose requests are published", SliceNote)
TOLD = Note("told", "the slice of a replay whose outcomes are published", SliceNote)
SERVER = Note("server", "how far serving is, and which version serves", ServerNote)
BROKEN = Note("broken", "a guard rail that what serves has broken, as a server has seen", BrokenNote)
SYNC = Note("sync", "the shadow's newest average, which may serve in a tested version's place", SyncNote)
LEARNER = Note("learner", "how far learning is, and the live intercept", LearnerNote)
BLOCKS = Note("live", "the newest of the blocks by which servers follow the live experts", BlocksNote)
DISTILLER = Note("distiller", "the last commit taken, and the last candidate made", DistillerNote)
EVALUATOR = Note(
    "evaluator", "the last commit and candidate, how many verdicts, and the trials that run", EvaluatorNote
)
CONDUCTOR = Note("conductor", "how many verdicts were handled, and the version that follows from them", ConductorNote)
METRICS = Note("metrics", "how well each model did, in all and by month, by the task's metrics", Metrics)
DRIFT = Note("drift", "which fields have changed, how far and since when", DriftNote)
ARRIVALS = Note("arrivals", "when what the newest candidates have learned had arrived", ArrivalsNote)
FRESHNESS = Note(
    "freshness",
    "how long after their arrival outcomes were known to a first prediction, since the server began",
    FreshNote,
)
PULSE = Note("pulse", "how each role of the run is, what is unread, and how old the newest commit is", PulseNote)
NOTES: tuple[Note[Any], ...] = (
    START, ASKED, TOLD, SERVER, BROKEN, SYNC, LEARNER, BLOCKS, DISTILLER, EVALUATOR, CONDUCTOR, METRICS, DRIFT,
    ARRIVALS, FRESHNESS, PULSE,
)  # fmt: skip
ATTEMPTS = "attempts"


def server_names(count: int) -> list[str]:
    """Return the names of a feed's servers, which are those of their processes and of their notes.

    >>> server_names(1), server_names(2)
    (['server'], ['server-0', 'server-1'])
    """
    return [SERVER.name] if count == 1 else [f"{SERVER.name}-{n}" for n in range(count)]


def is_server(role: str) -> bool:
    """Return whether a role is a server."""
    return role.partition("-")[0] == SERVER.name


def block_name(of: int | None = None) -> str:
    """Return the board's name of the base of blocks, or of a block by its number after the base."""
    return f"{BLOCKS.name}:{'base' if of is None else of}"


OWN_NOTES = {
    ATTEMPTS: "the learner's failed attempts to learn what follows a commit (deploy/learning/attempts.py)",
    f"{BLOCKS.name}:…": "the base of the newest blocks, and each block after it (deploy/learning/blocks.py)",
    "run": "which run has the feed, and when it last said so (deploy/run/claim.py)",
}

END_OF_FEED, ACCEPT_LOSS = "end-of-feed", "accept-loss"
OPERATOR_NOTES = {
    END_OF_FEED: "no more events come: the windows are closed",
    ACCEPT_LOSS: "records that retention removed before they were read are counted as lost",
}

COUNTERS = {
    "predictions": "predictions read, duplicates and late ones included",
    "opened": "predictions whose window was opened",
    "prediction_duplicate": "predictions whose id was there already; the first one counts",
    "conflict": "duplicates of a prediction with other content than the first one's",
    "prediction_too_late": "predictions dated so long before the watermark that their window is closed and forgotten",
    "joined": "predictions that met their outcome: a sample each",
    "negative": "predictions without an outcome that became negative samples",
    "unlabelled": "predictions whose window closed without an outcome; they are no sample",
    "waiting": "predictions whose window is open now",
    "outcomes": "outcomes read, duplicates and late ones included",
    "used": "outcomes that a label was made of",
    "early": "outcomes that wait for their prediction now",
    "late": "outcomes whose own time is after their prediction's window; they did not change its label",
    "outcome_closed": "outcomes that came when their prediction's window had closed without one",
    "orphan": "outcomes whose prediction never came",
    "early_refused": "outcomes that came before their prediction, if it ever came, while join.most_early others did",
    "outcome_duplicate": "outcomes that were there already",
    "outcome_too_late": "outcomes dated so long before the watermark that any window of theirs is closed and forgotten",
    "too_late_silent": "of those too late, the ones whose partition had been silent while others moved the watermark",
    "capped": "outcomes over the largest number that one id may have",
    "corrected": "samples that were emitted again with another label",
    "restored": "samples that were emitted before the store lost its state",
    "marked": "marks: predictions that had no outcome at one of the ages that the learner asks for, once for each age",
}
PARTITION_COUNTERS = {
    "start": "the first offset that the join counts",
    "next": "the next offset to read",
    "records": "records read",
    "rejected": "offsets whose record could not be read; each has a dead letter, or is in one that sums up many",
    "holes": "offsets that hold no record: transactions' markers, and what compaction removed",
    "lost": "offsets that retention removed before they were read, accepted by an operator",
}

REJECTED_PARTS = {"ahead": "of the rejected, records dated more than join.max_ahead_s after the store's clock"}

# What else the equations of an audit name.
TERMS = {
    "seq": "samples emitted",
    "learned": "samples in the commits",
    "let_go": "samples of commits that were let go, by `registry.keep_samples`",
    "held": "samples of sources that are held, which nothing has learned",
    "quarantined": "samples that could not be learned",
    "unread": "samples that are still to be learned",
    "positions": "offsets from the first that the join counts to the next to read, over all partitions",
}

HELD = "partitions that an open transaction holds, a line each: position, since when, what to do"

# What `join --json` reports besides counters.
JOIN_FIGURES = {
    "feed": "the feed's name",
    "at_ms": "event time of the newest event, in milliseconds",
    "lag_ms": "how far the watermark lags it, in milliseconds",
    "events": "records read",
    "samples": "samples emitted",
    "unread": "samples that are not written yet, or not read where they stay in the stream",
    "seconds": "how long the join has run",
    "held": HELD,
    "warnings": "what must be wrong, such as times in 1970: `about` what, and a `text`",
    "advice": "a line for each kind of event that is no sample, with a figure and the setting to change",
}

# What `demo --json` and `run --replay --json` report besides counters.
RUN_FIGURES = {
    "requests": "requests that the replay published",
    "refused": "requests that have a dead letter instead of an answer; `reasons` says why",
    "reasons": "dead letters of requests, predictions and outcomes by kind of reason, the most frequent first",
    "rejected": "predictions and outcomes that could not be read: dead letters, too",
    "samples": "samples learned",
    "lost": "published events that appear in no other figure",
    "doubled": "samples learned twice",
    "metrics": "the task's metrics over all samples, by model and name; the models are the first one (frozen), the "
    "same under its own intercept (frozen_live), the version that served under it (deep), what was served, and the "
    "shadow",
    **{f"auc_{model}": f"{AUC} in `metrics`; null for a task without it" for model in MODELS},
    **{f"logloss_{model}": f"{LOG_LOSS} in `metrics`; null for a task without it" for model in MODELS},
    "slices": "the task's metrics of what was served, by field and value of `Pipeline.slices`; values not among the "
    '20 most frequent are "(others)"',
    "worst": "the field and value of the slice with the largest loss above that of all; null if none is above it",
    "drift": "the newest change of each field that has changed: what, how far, what was usual before, since when",
    "distrusted": "sources whose outcomes are held: since when, until when, and their excess of loss in nats a sample",
    "candidates": "candidates distilled from the shadow",
    "drifts": "of the candidates, those that were made before their time, since the world has changed",
    "promotions": "versions that brought a candidate's artifact, and answered all requests",
    "syncs": "times that the shadow's average took a tested version's place, untested",
    "rollbacks": "versions that brought an earlier version's artifact back",
    "sparsity": "the share of the served artifact's compressed weights that are zero",
    "artifact_bytes": "size of the served artifact",
    "float_bytes": "size of the same model in float32",
    "engine": "what runs the version that serves",
    "speedup": "how many times as fast as its model in float32 torch that version is, by rows a call",
    "seconds": "how long the run took",
    "loop_seconds": "how long the replay took",
    "events_per_second": "requests and outcomes published, by `loop_seconds`",
    "balanced": "whether every equation of the audit holds",
    "held": HELD,
}
