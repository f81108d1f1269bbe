"""Commits: the learner's history. Learned again in their order, they make the same state, bit for bit.

A commit holds what was learned since the one before: the samples in the order learned, the sizes of the micro-batches,
every other input, and the position reached in each shard. `voids.py` says what a later commit takes back. Owns a
commit's contents and bytes. Does not know models, or where commits are kept.
"""

import msgspec
from msgspec import Raw, Struct

from learners.labels.holds import Hold, Said, left
from streams.errors import CommitError
from streams.events import WAITING, Sample
from streams.readers import read_sample

FORMAT = 3


class Due(Struct, frozen=True):
    """Why a candidate is to be made of the state after this commit, and the event time at which that was due.

    `reason` is "schedule" or "drift"; then the world has changed after the prediction of `since_ms`, −1 for the start.
    """

    reason: str
    at_ms: int
    since_ms: int | None = None


class Run(Struct, frozen=True, array_like=True):
    """`count` samples of one shard, learned one after the other: their numbers there are `first` and those after it."""

    shard: int
    first: int
    count: int


class Quarantined(Struct, frozen=True, kw_only=True):
    """A sample that could not be learned, and why; `sample` is the text that the join emitted."""

    shard: int
    position: str
    reason: str
    sample: str


class Ruling(Struct, frozen=True, kw_only=True):
    """What a person has said of a source that is held: `release` or `drop` its samples; who, why and when."""

    number: int
    source: str
    said: Said
    who: str
    why: str
    at_ms: int


class Doubted(Struct, frozen=True, array_like=True):
    """Samples of earlier commits that are held from here on: their source was in doubt when they were learned."""

    source: str
    why: str
    runs: list[Run]


class Commit(Struct, frozen=True, kw_only=True):
    """What the learner learned since the commit before, and how far it had read.

    `parent`: the digest of the bytes of the commit before.
    `samples`, `runs`: the samples and marks in the order learned, each a `Sample` as JSON, and which ones they are.
    `batches`: the number of samples and marks of each micro-batch.
    `shadow`: the shadow's answer (K,) to each sample, but for marks, before it trained on it.
    `intercept`: the live intercept (K,) after the last sample.
    `positions`: by shard, the position in its stream of the last sample that was read.
    `watermark_ms`, `latest_ms`: the join's watermark, and the newest prediction learned so far, both in event time.
    `heard_ms`: up to this event time the log has all that the join had to say, in this commit or an earlier one: each
        outcome, each window that closed, each mark; −1 in commits of older releases. `settled_ms` is it there, too.
    `offsets`: by "topic:partition" of the join, where the feed began and how far it had read: what all samples so far
        are made of is between them. Empty in commits of older releases.
    `void`: by shard, a position after which the samples of earlier commits are taken back: the store had lost them.
    `learned`: the number of samples of all commits so far, without those taken back.
    `state`: the digest of the whole state after this commit, in commit 0 and in some of older releases; else None.
    `held`: which of the samples and marks are held, by index: nothing has learned them.
    `rulings`, `released`: what people have said of held sources, before anything here was learned; the first so many
        samples are those that were released, and are held in earlier commits.
    `ruled`: how many rulings there were so far.
    `doubted`: samples of earlier commits that are held after all; its whole state is that of the rest.
    `asked`: where it is told, a time, how many predictions up to then the join had opened, and its window in ms; all
        outcomes up to that time were learned.
    `scale`: the mean and spread of a regression's labels so far, by which losses are measured.
    """

    format: int = FORMAT
    number: int
    parent: str
    learned: int
    samples: list[Raw]
    runs: list[Run]
    batches: list[int]
    shadow: list[list[float]]
    intercept: tuple[float, ...]
    positions: dict[str, str]
    watermark_ms: int
    latest_ms: int
    heard_ms: int = -1
    offsets: dict[str, tuple[int, int]] = {}
    due: Due | None = None
    quarantined: list[Quarantined] = []
    void: dict[str, str] = {}
    fingerprint: str
    state: str | None = None
    scale: tuple[float, float] | None = None
    asked: tuple[int, int, int] | None = None
    held: list[Hold] = []
    rulings: list[Ruling] = []
    released: int = 0
    ruled: int = 0
    doubted: list[Doubted] = []

    @property
    def settled_ms(self) -> int:
        """Up to which event time the log is whole, as far as it is known."""
        return self.heard_ms if self.heard_ms >= 0 else self.watermark_ms

    def entries(self) -> list[Sample]:
        """Return samples and marks, decoded."""
        return list(map(read_sample, self.samples))

    def holds(self, start: int, end: int) -> list[Hold]:
        """Return which of the entries from `start` to before `end` are held, by index from `start`."""
        return [hold.moved(-start) for hold in self.held if start <= hold.at < end]

    def read(self) -> list[Sample]:
        """Return the samples that were learned: without marks, and without those held."""
        return [one for one in left(self.entries(), self.held) if one.kind != WAITING]


class _Kind(Struct):
    kind: str


_encoder, _decoder, _kind = msgspec.json.Encoder(), msgspec.json.Decoder(Commit), msgspec.json.Decoder(_Kind)


def is_mark(sample: Raw) -> bool:
    """Return whether a sample, given as JSON, is a mark."""
    return _kind.decode(sample).kind == WAITING


def encode(commit: Commit) -> bytes:
    """Return the commit's bytes (JSON)."""
    return _encoder.encode(commit)


def decode(data: bytes) -> Commit:
    """Return the commit that `encode` made the bytes of.

    Raises:
        CommitError: the bytes are not a commit, or have another format.
    """
    try:
        commit = _decoder.decode(data)
    except msgspec.DecodeError as wrong:
        raise CommitError(f"not a commit: {wrong}") from None
    if commit.format != FORMAT:
        raise CommitError(
            f"commit {commit.number} has format {commit.format}; this version reads {FORMAT}: go on with the version "
            "that made it, or begin a new feed"
        )
    return commit
