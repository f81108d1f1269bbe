"""What is another in a pipeline than at its last start, and what follows from that by itself.

Owns the classes of change and their words. What the log and the artifacts have to say is `record.py`'s.
"""

from collections.abc import Iterator
from typing import Literal, TypeAlias

from msgspec import Struct

from deploy.changes.parts import Parts

Follows: TypeAlias = Literal["harmless", "lineage", "refused"]
NONE = "(none)"
SHOWN = 60  # characters of a value
BY_ANSWERS = ("encode", "model")  # whose code may have changed without another answer

WORDS = {
    "features": "every row of the log is read so",
    "encode": "what serves must answer the log as it did",
    "model": "what serves must answer the log as it did",
    "recipe": "candidates are made by it, which must pass W and L as another recipe's",
    "join": "from now on; what was joined stays as it is",
    "online": "from the next sample on",
    "live": "from the next sample on",
    "trust": "from the next sample on",
    "promotion": "from the next candidate on",
    "seed": "from the next sample on",
    "migrate": "every row of the log and every request goes through it",
}
OTHER_MODEL = "another model: it learns the log, and its candidate must pass W and L"
FIRST_ONLY = ("history_passes", "history_batch")  # of `online`


class Change(Struct, frozen=True, kw_only=True):
    """One thing that is another than before, in a part of the pipeline: `old` and `new` as text, None where it is not.

    `follows`: nothing (harmless), a new lineage, or a refusal; `why` says what happens, or what to do.
    """

    part: str
    name: str
    old: str | None
    new: str | None
    follows: Follows
    why: str

    def __str__(self) -> str:
        where = self.part if self.name in (self.part, "code", "steps") else f"{self.part}, {self.name}"
        if self.name in ("code", "layers"):
            return f"{where}: another one than before"
        return f"{where}: {_cut(self.old)} -> {_cut(self.new)}"


def compare(old: Parts, new: Parts) -> list[Change]:
    """Return what has changed, in the order of the parts."""
    return [change for part in {**new, **old} for change in _of(part, old.get(part, {}), new.get(part, {}))]


def _of(part: str, old: dict[str, str], new: dict[str, str]) -> Iterator[Change]:
    differ = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    shapes = [name for name in differ if name != "layers"] if part == "model" else []
    if shapes:
        before, after = (", ".join(f"{name} {of[name]}" for name in shapes if name in of) for of in (old, new))
        yield Change(part=part, name="weights", old=before, new=after, follows="lineage", why=OTHER_MODEL)
        return
    for name in ["experts"] if part == "live" and "experts" in differ else differ:
        follows, why = _follows(part, name)
        yield Change(part=part, name=name, old=old.get(name), new=new.get(name), follows=follows, why=why)


def _follows(part: str, name: str) -> tuple[Follows, str]:
    if part == "task":
        return "refused", "labels and answers mean something else: give the pipeline another name, and it begins anew"
    if part == "online" and name == "private":
        return "refused", "what was learned so far was learned otherwise: give the pipeline another name"
    if part == "online" and name in FIRST_ONLY:
        return "harmless", "nothing: it was for the first version"
    return "harmless", WORDS.get(part, "")


def _cut(value: str | None) -> str:
    text = " ".join((value or NONE).split())
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"
