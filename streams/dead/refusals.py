"""The dead letters of a topic by position: what was refused, why, and what was published again.

Owns what a letter means beside others: one that was written twice counts once, and of one that sums up, each position
that has no letter of its own. Does not know where the letters are.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from streams.dead.letters import REPLAYED, StoredLetter, kind_of, place_of, position_of, read
from streams.events import Record
from streams.kafka.records import Tp
from streams.offsets import Offsets


class Refusal(NamedTuple):
    """A refused position, or several that one letter sums up: the newest letter, how many there are of it.

    `again` are the offsets that were published again; `replayed` says that all were.
    """

    letter: StoredLetter
    copies: int = 1
    replayed: bool = False
    again: Offsets = Offsets()

    @property
    def positions(self) -> int:
        """How many positions it stands for."""
        return len(self.letter.covers)

    def at(self, offset: int) -> "Refusal":
        """Return the refusal of one of the positions."""
        one = Offsets.of((offset, offset + 1))
        letter = self.letter._replace(position=position_of(self.letter.tp, offset), start=offset, end=offset + 1)
        return self._replace(letter=letter._replace(offsets=one), replayed=offset in self.again)


class Refused:
    """All refused positions: `"topic/partition/offset" in refused`."""

    def __init__(self, refused: Iterable[Refusal]) -> None:
        self._of = _covered(one.letter for one in refused)

    def __contains__(self, position: object) -> bool:
        tp, offset = place_of(str(position))
        return tp in self._of and offset in self._of[tp]

    def __len__(self) -> int:
        return sum(map(len, self._of.values()))


def refusals(records: Iterable[Record], held: Iterable[StoredLetter] = ()) -> dict[str, Refusal]:
    """Return the refusals in the records of the dead letters' topic, by position; a crash may have doubled a letter.

    `held` are letters that are still to be written.
    """
    singles: dict[str, Refusal] = {}
    sums: dict[tuple[str, str], StoredLetter] = {}
    again: dict[Tp, Offsets] = defaultdict(Offsets)
    for record in records:
        if REPLAYED in dict(record.headers):
            _mark(again, record)
            continue
        letter = read(record)
        if letter.offsets is None:
            earlier = singles.get(letter.position)
            singles[letter.position] = Refusal(letter, earlier.copies + 1 if earlier else 1)
        else:
            _newest(sums, letter)
    for letter in held:
        _newest(sums, letter)
    by_position = dict(singles)
    covered = _covered(one.letter for one in singles.values())
    for letter in sums.values():
        rest = letter.covers - covered[letter.tp]
        if rest:
            covered[letter.tp] = covered[letter.tp] | rest
            position = position_of(letter.tp, rest.first)
            by_position[position] = Refusal(
                letter._replace(position=position, start=rest.first, end=rest.last + 1, offsets=rest)
            )
    return {position: _replayed(one, again) for position, one in by_position.items()}


def reasons(refused: Iterable[Refusal]) -> dict[str, int]:
    """Count positions by kind of reason, the most frequent first; what differs from record to record is left out."""
    counts: Counter[str] = Counter()
    for one in refused:
        counts[kind_of(one.letter.reason)] += one.positions
    return dict(counts.most_common())


def refused_positions(refused: Iterable[Refusal]) -> Refused:
    """Return every refused position, each offset of a range by itself."""
    return Refused(refused)


def find(by_position: Mapping[str, Refusal], position: str) -> Refusal | None:
    """Return the refusal of a position, also where a letter sums it up with others; None where there is none."""
    if position in by_position:
        return by_position[position]
    try:
        tp, offset = place_of(position)
    except ValueError:
        return None
    found = (one for one in by_position.values() if one.letter.tp == tp and one.letter.offsets is not None)
    return next((one.at(offset) for one in found if offset in one.letter.covers), None)


def _newest(sums: dict[tuple[str, str], StoredLetter], letter: StoredLetter) -> None:
    """Keep the letter: one with the same first position and kind comes of a crash, and the newer holds what it held."""
    key = letter.position, letter.reason
    earlier = sums.pop(key, None)
    sums[key] = letter._replace(offsets=letter.covers | earlier.covers) if earlier else letter


def _mark(again: dict[Tp, Offsets], record: Record) -> None:
    tp, offset = place_of((record.key or b"").decode())
    headers = dict(record.headers)
    if "offsets" in headers:
        again[tp] = again[tp] | Offsets.unpack(headers["offsets"])
    else:
        again[tp].add(offset, offset + 1)


def _replayed(one: Refusal, again: Mapping[Tp, Offsets]) -> Refusal:
    marked = again.get(one.letter.tp, Offsets())
    if one.letter.offsets is None:
        return one._replace(replayed=one.letter.start in marked)
    done = one.letter.covers & marked
    return one._replace(replayed=len(done) == one.positions, again=done)


def _covered(letters: Iterable[StoredLetter]) -> dict[Tp, Offsets]:
    covered: dict[Tp, Offsets] = defaultdict(Offsets)
    for letter in letters:
        if letter.offsets is None:
            covered[letter.tp].add(letter.start, letter.end)
        else:
            covered[letter.tp] = covered[letter.tp] | letter.offsets
    return covered
