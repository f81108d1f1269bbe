"""The model card of an exported version: what it is, why it served, what it was made of and how to take it.

Owns the words. Does not know files.
"""

from collections.abc import Iterator

from deploy.operate.versions.lineage import Shown

HEAD = """---
library_name: shadowstream
tags:
- shadowstream
- online-learning
---
"""
TAKE = """
## Use

In Python: `shadowstream.load_artifact(data, factory)`, with the bytes of `artifact.safetensors` and a function that
makes the pipeline's model. All that is known of the version, with its record as it was signed, is in
`shadowstream.json`.
"""


def card(feed: str, shown: Shown, digest: str) -> str:
    """Return the card of a version, as Markdown; `digest` is the SHA-256 of the artifact."""
    parts = {
        "": _about(shown, digest),
        "Evidence": _evidence(shown),
        "Lineage": _lineage(shown),
        "Recipe": _made(shown),
    }
    text = "".join(
        (f"\n## {title}\n\n" if title else "") + "".join(f"- {' '.join(line.split())}\n" for line in lines)
        for title, lines in parts.items()
    )
    return f"{HEAD}\n# {feed}, version {shown.version.version}\n\n{text}{TAKE}"


def _about(shown: Shown, digest: str) -> Iterator[str]:
    yield f"`artifact.safetensors`: SHA-256 `{digest}`, {shown.bytes:,} bytes ({shown.float_bytes:,} in float)"
    yield f"{100 * shown.sparsity:.0f} % of the compressed weights are zero"
    yield f"served by: {shown.version.engine}"
    yield f"signed by: {shown.version.signed}"
    if shown.privacy:
        yield f"privacy: ε = {shown.privacy.epsilon:g}, δ = {shown.privacy.delta:g}"


def _evidence(shown: Shown) -> Iterator[str]:
    one = shown.version
    yield f"{one.because} ({one.by})" if one.by else one.evidence
    for against in getattr(shown.proof, "against", ()):
        yield (
            f"against version {against.champion}: gain {against.gain:+.5f} a sample over {against.samples:,} samples, "
            f"95 % interval {against.interval}, log W {against.log_wealth:.2f}, log L {against.log_lasting:.2f}"
        )
    if shown.figures:
        yield f"held-out loss {shown.figures.loss}, its teacher's {shown.figures.teacher_loss}"


def _lineage(shown: Shown) -> Iterator[str]:
    one = shown.version
    made = "the pipeline's history" if one.commit is None else f"the state of commit {one.commit}"
    yield one.brought or f"made of {made}, {one.learned:,} samples learned"
    for shard, (first, last) in shown.log.items():
        yield f"learned from samples {first:,} to {last:,} of shard {shard}"
    if shown.chain is None:
        yield f"the commits that it was made of were let go; those that are left begin at {shown.begins}"
    else:
        start = f"commit {shown.begins}, where the log begins" if shown.begins else "the first"
        yield f"{shown.chain:,} commits, each named by the next one's digest, lead to {start}"
    for place, digest in shown.follows.items():
        yield f"follows from {place}: `{digest}`"


def _made(shown: Shown) -> Iterator[str]:
    for name, value in shown.manifest.items():
        yield f"{name}: `{value}`"
