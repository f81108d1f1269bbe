"""A version made as if some events had never been, and the receipt of it.

Owns what is left out and what the receipt says. Does not know how a version is made, or tables.
"""

import time
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path

from msgspec import Struct

from deploy.config import Settings
from deploy.loading import users_code
from deploy.operate.files import check_file
from deploy.operate.versions.traces import traces
from deploy.operate.versions.versions import Remade, learned_again, served
from deploy.registry.commits import backwards, let_go
from deploy.registry.receipts import Receipt, digests, sign
from deploy.registry.signing import name_of, own_key, private_key
from deploy.registry.storage.home import root
from learners.commits.forget import learned
from learners.commits.state import fingerprint
from streams.errors import ConfigError

NO_HISTORY = (
    "version {} learned the pipeline's history and no event: take the rows out of Pipeline.history, and begin anew "
    "with `run --fresh`"
)


BEHIND = (
    "{what}, and {said}: version {version} goes on from the state there, of which nothing can be taken out. To be "
    "sure, begin anew with `run --fresh`"
)


class Forgotten(Struct, frozen=True, kw_only=True):
    """What `rebuild --without --json` prints: the version made again without the events, and what the receipt says.

    `never` are the ids of which the version had learned no sample; `signed_by` is the key's name for people.
    """

    remade: Remade
    receipt: Receipt
    never: list[str]
    out: str
    receipt_file: str
    signed_by: str


def forget(
    path: Path, settings: Settings, version: int, ids: frozenset[str], *, out: Path, key: Path | None = None
) -> Forgotten:
    """Make a version without the events of these ids: an artifact in the file `out`, and `OUT.receipt.json` beside it.

    `key` is the file of a private key; without it the registry's own signs.

    Raises:
        ConfigError: there is no such version; it is the history's; a file cannot be written; the key cannot be read.
    """
    check_file(out)
    of = served(path, settings, version)
    if of.commit is None:
        raise ConfigError(NO_HISTORY.format(version))
    signer = private_key(key) if key else own_key(root(settings.registry.path))
    samples, begins = learned(backwards(of.registry, of.commit), ids), of.registry.begins()
    if begins and (behind := _behind(samples, ids, begins)):
        raise ConfigError(BEHIND.format(said=let_go(of.registry), version=version, what=behind))
    with users_code(str(path)):
        made, remade = learned_again(of, min(samples, default=of.commit + 1) - 1, ids)
    left_out = sum(samples.values(), Counter())
    never = sorted(ids - left_out.keys())
    receipt = Receipt(
        feed=of.pipeline.name, version=version, ids=digests(ids), never=len(never), samples=left_out.total(),
        first=remade.first, last=remade.last, again=remade.again, learned=remade.learned, before=remade.kept,
        after=remade.made, at_ms=int(time.time() * 1_000), fingerprint=fingerprint(), environments=remade.environments,
        erase=traces(path, settings, of.pipeline, of.registry, ids),
    )  # fmt: skip
    beside = out.with_name(f"{out.name}.receipt.json")
    out.write_bytes(made)
    beside.write_bytes(sign(receipt, signer))
    return Forgotten(
        remade=remade, receipt=receipt, never=never, out=str(out), receipt_file=str(beside),
        signed_by=name_of(signer.public),
    )  # fmt: skip


def _behind(samples: Mapping[int, Counter[str]], ids: Collection[str], begins: int) -> str:
    """Return which of the ids may be in the state at which the log begins, and so in the version, "" if none is."""
    first = samples.get(begins, Counter())
    unknown = sorted(set(ids) - set[str]().union(*samples.values()))
    if first:
        return f"{len(first)} of these ids are in commit {begins} itself, as {min(first)!r}"
    if unknown:
        return f"{len(unknown)} of these ids are in no commit that is left, as {unknown[0]!r}"
    return ""
