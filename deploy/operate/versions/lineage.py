"""Versions that explain themselves: what each is made of, by whom and why it served, and which one answered what.

Owns what is told of a version, a difference of two, and an answer. All of it is in the registry, whose commits are the
log. Does not know tables.
"""

from bisect import bisect_right
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import torch
from msgspec import Struct

from compressors.artifact import format as artifact
from deploy.config import Settings
from deploy.operate.registry.sign import opened
from deploy.registry.commits import backwards, known, let_go
from deploy.registry.commits import read as read_commit
from deploy.registry.kinds import CANDIDATES, CHAMPIONS, COMMITS, STEPS, Kind
from deploy.registry.records import Begun, CanaryStep, Candidate, Champion, Engine, Figures, Privacy
from deploy.registry.registry import Registry
from deploy.registry.reigns import versions as unchecked
from deploy.registry.seals import opened as unsealed
from deploy.registry.signing import name_of
from learners.commits.commit import Commit
from learners.evaluation.canary import ALL
from streams.errors import ConfigError, Untrusted
from streams.events import Prediction, Target
from streams.moments import SECONDS_DIGITS
from streams.readers import read_sample

T = TypeVar("T", bound=Struct)


class Version(Struct, frozen=True, kw_only=True):
    """One version: since which event time it serves, and what it is made of.

    `reason` says why its candidate was made, "" for history, `evidence` in words why it took over, `by` and `because`
    whose word it was, where it was one. `signed` is the name of the key, or why the record is not taken. `commit` is
    the one of whose state it was made, which had learned `learned` samples; None: of history. `brought` says of one
    that was made elsewhere where it is from, who took it, and why. A canary answered a `share` of the requests. `begun`
    says of one with which this feed began whose it was. A sync is the shadow's average, which served in the place of
    version `sync_of`; in a list it is the newest of several.
    """

    version: int
    since_ms: int
    artifact: str
    candidate: int | None
    reason: str
    commit: int | None
    learned: int
    engine: str
    evidence: str
    by: str
    because: str
    back_to: int | None
    signed: str
    brought: str | None = None
    begun: Begun | None = None
    share: float = ALL
    sync_of: int | None = None


class Shown(Struct, frozen=True, kw_only=True):
    """All that is known of one version.

    `figures`, `privacy`: those of its candidate. `manifest` is what the artifact says of its making, with the recipe.
    `follows`: the digests of the records that it follows from. `log` says by shard which samples its state had read,
    the numbers of the first and the last, and `offsets` by "topic:partition" between which records all of these lie:
    the first offset, and the one after the last; empty where an older release learned them, or its commit was let go.
    `chain` says how many commits, each naming the one before, lead to the first, which is commit `begins`; None: its
    own was let go. `proof` has the evidence as data, and `step` how the step of
    a canary ended. Of what one learned that was made elsewhere nothing is known here.
    """

    version: Version
    figures: Figures | None
    privacy: Privacy | None
    bytes: int
    float_bytes: int
    sparsity: float
    manifest: dict[str, Any]
    follows: dict[str, str]
    log: dict[str, tuple[int, int]]
    offsets: dict[str, tuple[int, int]]
    chain: int | None
    proof: Any
    step: CanaryStep | None = None
    begins: int = 0


class Difference(Struct, frozen=True, kw_only=True):
    """What is different in version `b`: entries of the manifest and figures, as (of a, of b), and weights.

    `weights`: by tensor, the distance of the two over the norm of a's; None where the shapes differ.
    """

    a: Version
    b: Version
    changed: dict[str, tuple[Any, Any]]
    weights: dict[str, float | None]


class Read(Struct, frozen=True, kw_only=True):
    """How far the join had read when a commit was made.

    `offsets`: by "topic:partition" the first offset that it ever read, and the one after the last; `before`: the one
    after the last at the commit before. Both are empty where an older release has made the commit.
    """

    commit: int
    offsets: dict[str, tuple[int, int]]
    before: dict[str, int]


class Answered(Struct, frozen=True, kw_only=True):
    """A prediction in the log, and what was heard of it.

    `version` is the one that answered, or served at the time, beside a `canary` if there was one. `outcomes` are kind,
    label, event time and the commit that learned each, oldest first. `read` is of these commits, each once: prediction
    and outcome are within its `offsets`, and the later of them after `before` if the learner kept up with the join. Of
    a time it is the newest commit whose watermark is not after it.
    """

    version: Version
    prediction: Prediction | None
    outcomes: list[tuple[str, Target, int, int]]
    canary: Version | None = None
    read: list[Read] = []


def versions(path: Path, settings: Settings) -> list[Version]:
    """Return all versions of a pipeline, oldest first; of syncs in a row, the newest.

    Raises:
        ConfigError: it was never run here.
    """
    registry = opened(path, settings)
    return [_version(registry, one.number) for one in unchecked(Registry(registry.home))]


def begins(path: Path, settings: Settings) -> str:
    """Return where a pipeline's log begins, in words, "" where no samples were let go."""
    return let_go(Registry(opened(path, settings).home))


def show(path: Path, settings: Settings, version: int) -> Shown:
    """Return what is known of a version.

    Raises:
        ConfigError: there is no such version.
        RegistryError: its artifact is missing or damaged, or the chain of commits is broken.
    """
    registry = opened(path, settings)
    told, record = _version(registry, version), _record(registry, version)
    if record.sync_of is not None and not registry.has(record.artifact):
        raise ConfigError(
            f"version {version}, a sync of version {record.sync_of} after commit {record.commit}, has no artifact any "
            f"more: `shadowstream rebuild PIPELINE {version} --out FILE` makes it again"
        )
    described = artifact.describe(registry.get(record.artifact))
    candidate = None if record.candidate is None else _unchecked(registry, CANDIDATES, record.candidate)
    begins, commit = registry.begins(), known(registry, told.commit or 0)
    _, seal = unsealed(registry.read(CHAMPIONS, version) or b"")
    return Shown(
        version=told,
        figures=candidate.figures if candidate and told.sync_of is None else None,
        privacy=record.privacy,
        bytes=described.bytes,
        float_bytes=described.float_bytes,
        sparsity=described.sparsity,
        manifest=described.manifest,
        follows=seal.follows if seal else {},
        log={} if told.brought or not commit else _log(commit),
        offsets={} if told.brought or not commit else dict(sorted(commit.offsets.items())),
        chain=_chain(registry, commit, begins) if commit else None,
        proof=record.evidence,
        step=_unchecked(registry, STEPS, version),
        begins=begins,
    )


def diff(path: Path, settings: Settings, a: int, b: int) -> Difference:
    """Return what is different in version `b`.

    Raises:
        ConfigError, RegistryError: as `show`.
    """
    registry, one, other = opened(path, settings), show(path, settings, a), show(path, settings, b)
    ours, theirs = (
        {**s.manifest, "bytes": s.bytes, "sparsity": s.sparsity, "learned": s.version.learned} for s in (one, other)
    )
    names = [name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name)]
    return Difference(
        a=one.version,
        b=other.version,
        changed={name: (ours.get(name), theirs.get(name)) for name in names},
        weights=_apart(*(artifact.floats(registry.get(s.version.artifact)) for s in (one, other))),
    )


def find(path: Path, settings: Settings, what: str) -> Answered:
    """Return what answered a prediction, by its id, and what was heard of it; or what served at a time.

    A time is ISO 8601 with an offset, or milliseconds since 1970. An id is looked for in the commits, newest first.

    Raises:
        ConfigError: no sample of this id is in a commit, or nothing served then.
    """
    registry = opened(path, settings)
    if (at_ms := time_ms(what)) is not None:
        newest = _served_at(registry, at_ms)
        served = [one for one in versions(path, settings) if one.version < newest.version and one.since_ms <= at_ms]
        served.append(newest)
        whole = next(one for one in reversed(served) if one.share == ALL)
        canary = newest if newest.share < ALL else None
        read = [_read(registry, _commit_at(registry, at_ms))]
        return Answered(version=whole, prediction=None, outcomes=[], canary=canary, read=read)
    found = list(_samples(registry, what))[::-1]
    if not found:
        raise ConfigError(
            f"no sample of {what!r} is in a commit: it has no outcome yet, was not learned, or never asked "
            f"(topics.predictions has every answer)"
            + (f"; or {said}" if (said := let_go(Registry(registry.home))) else "")
        )
    prediction, outcomes = found[0][0], [rest for _, rest in found]
    read = [
        _read(registry, number) for number in sorted({number for *_, number in outcomes})
    ]  # a segment that was read
    version = _version(registry, prediction.version)
    return Answered(version=version, prediction=prediction, outcomes=outcomes, read=read)


def _read(registry: Registry, number: int) -> Read:
    before = one.offsets if number and (one := known(registry, number - 1)) else {}
    offsets = dict(sorted(read_commit(registry, number).offsets.items()))
    return Read(commit=number, offsets=offsets, before={tp: before[tp][1] for tp in offsets if tp in before})


def _commit_at(registry: Registry, at_ms: int) -> int:
    """Return the newest commit whose watermark is not after a time; the first where there is none."""
    begins = registry.begins()
    numbers = range(begins + 1, registry.last(COMMITS) + 1)
    return begins + bisect_right(numbers, at_ms, key=lambda number: read_commit(registry, number).watermark_ms)


def _served_at(registry: Registry, at_ms: int) -> Version:
    """Return the newest version that served at a time."""
    numbers = range(registry.last(CHAMPIONS) + 1)
    after = bisect_right(numbers, at_ms, key=lambda number: _record(registry, number).at_ms)
    return _version(registry, max(0, after - 1))


def _samples(registry: Registry, key: str) -> Iterator[tuple[Prediction, tuple[str, Target, int, int]]]:
    """Yield what the commits have of an id, newest first; a commit is decoded only where its text mentions it."""
    mention = key.encode()
    for number in registry.mentioning(key):
        if mention not in (registry.read(COMMITS, number) or b""):
            continue
        commit = next(backwards(registry, number))
        for raw in reversed(commit.samples):
            if mention in bytes(raw) and (sample := read_sample(raw)).id == key:
                yield sample.prediction, (sample.kind, sample.label, sample.label_t, number)


def _version(registry: Registry, number: int) -> Version:
    record = _record(registry, number)
    candidate = None if record.candidate is None else _unchecked(registry, CANDIDATES, record.candidate)
    engine = record.engine
    return Version(
        version=number,
        since_ms=record.at_ms,
        artifact=record.artifact,
        candidate=record.candidate,
        reason=candidate.why if candidate and record.sync_of is None else "",
        commit=record.commit if record.sync_of is not None else candidate.commit if candidate else None,
        learned=record.learned,
        engine=f"{engine.arithmetic}, by onnxruntime"
        if isinstance(engine, Engine)
        else f"torch: {engine or 'no engine'}",
        evidence=str(record.evidence),
        by=record.by,
        because=record.because,
        back_to=record.back_to,
        signed=_signed(registry, number),
        brought=_brought(registry, record, candidate),
        begun=_begun(registry, record),
        share=record.share,
        sync_of=record.sync_of,
    )


def _log(commit: Commit) -> dict[str, tuple[int, int]]:
    """Return, by shard, the first and the last sample that were read up to a commit."""
    return {shard: (1, int(position.partition("-")[0])) for shard, position in sorted(commit.positions.items())}


def _brought(registry: Registry, record: Champion, candidate: Candidate | None) -> str | None:
    """Return where a version is from that was made elsewhere; None for one of ours."""
    if candidate is not None:
        return f"{candidate.reason} ({candidate.by})" if candidate.by else None
    if (begun := _begun(registry, record)) is not None:
        return (
            f"begun from {begun}, signed by {begun.key}, SHA-256 of its record {begun.record}; learning went on from "
            f"commit {begun.commit} there, after {begun.learned:,} samples"
        )
    first = _record(registry, 0)
    same = first.by and first.artifact == record.artifact and record.sync_of is None
    return f"{first.evidence}: {first.because} ({first.by})" if same else None


def _begun(registry: Registry, record: Champion) -> Begun | None:
    """Return whose a version was with which this feed began, also where it serves again; None for another one."""
    first = _record(registry, 0)
    return first.begun if first.artifact == record.artifact else None


def _record(registry: Registry, number: int) -> Champion:
    record = _unchecked(registry, CHAMPIONS, number)
    if record is None:
        raise ConfigError(f"there is no version {number}; the newest is {registry.last(CHAMPIONS)}")
    return record


def _unchecked(registry: Registry, kind: Kind[T], number: int) -> T | None:
    """Return a record, signed or not: who looks wants to see what is there."""
    return Registry(registry.home).record(kind, number)


def _signed(registry: Registry, number: int) -> str:
    try:
        registry.record(CHAMPIONS, number)
    except Untrusted as wrong:
        return f"NOT TAKEN: {wrong}"
    _, seal = unsealed(registry.read(CHAMPIONS, number) or b"")
    return name_of(bytes.fromhex(seal.key)) if seal else "not signed"


def _chain(registry: Registry, commit: Commit, begins: int) -> int:
    """Return how many commits lead from this one to the first, each by the digest of the one before.

    Raises:
        RegistryError: a commit is not the one that the next one names.
    """
    for number in range(commit.number, begins - 1, -1):
        registry.read(COMMITS, number)
    return commit.number - begins


def _apart(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> dict[str, float | None]:
    found = dict[str, float | None]()
    for name in {**a, **b}:
        one, other = a.get(name), b.get(name)
        if one is None or other is None or one.shape != other.shape:
            found[name] = None
        elif (far := float((one.double() - other.double()).norm())) > 0:
            found[name] = far / max(float(one.double().norm()), 1e-12)
    return found


def time_ms(what: str) -> int | None:
    """Return a time in ms since 1970; None if this is none."""
    if what.isdigit() and len(what) > SECONDS_DIGITS:
        return int(what)
    try:
        moment = datetime.fromisoformat(what)
    except ValueError:
        return None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1_000)
