"""The server role: reads requests, has each micro-batch answered, and writes predictions and letters.

Owns that order: both are acknowledged by the broker before the requests' position is noted. It needs the broker alone:
without the store it goes on. Does not know how a request is answered.
"""

from collections.abc import Iterator
from itertools import chain
from typing import NamedTuple

from msgspec.structs import replace

from deploy.pipeline import Pipeline
from deploy.registry.kinds import BROKEN, SERVER
from deploy.registry.notes import ServerNote
from deploy.serving import theirs
from deploy.serving.answering import Answerer, Asked, most_bytes
from deploy.serving.champion import Served
from deploy.serving.fresh import Fresh
from deploy.serving.guarded import Guarded
from deploy.serving.live import Followed
from deploy.serving.share import Requests
from deploy.serving.spared import Spared
from streams.dead import DeadLetters, Letter, reason_of
from streams.errors import MalformedEvent, Skipped
from streams.events import Record, Request
from streams.join.fits import ID_BYTES, ID_COST, id_fault
from streams.join.store import Store
from streams.kafka import Polled, Sink, Tp
from streams.kafka.records import tp_name
from streams.readers import why_no_time
from streams.returned import as_request, raised

HOLD_S = 1.0  # how long the positions of refused requests may wait for the letter that sums them up


class Answers(NamedTuple):
    """Where predictions go: the topic, how many partitions it has, and the sink."""

    topic: str
    partitions: int
    sink: Sink


class ServerRole:
    """Serves one feed's requests. A prediction goes to the partition with its request's number, modulo their count."""

    def __init__(
        self, pipeline: Pipeline, champion: Served, requests: Requests, to: Answers, dead: DeadLetters, store: Store,
        max_batch: int, name: str = SERVER.name, *, guarded: bool = True,
    ) -> None:  # fmt: skip
        """`name` is that of the server among the feed's; what serves is looked at all the time if it is `guarded`."""
        self._pipeline, self._champion, self._requests, self._to, self._name = pipeline, champion, requests, to, name
        self._dead, self._store, self._max_batch = dead, store, max_batch
        self._encoder, self._live = pipeline.encoder(), Followed(pipeline, store)
        self._board = Spared("the store", "serving goes on with the live experts and the intercept as they were")
        self._fresh, self._freshness = Fresh(pipeline.name, store, champion.commit), dict[str, bytes]()
        self._guarded, self._broken = Guarded(pipeline, champion) if guarded else None, dict[str, bytes]()
        self._noted = True
        self._theirs = theirs.reader(pipeline)
        self._note = ServerNote({}, {}, champion.newest, 0)
        self._held: dict[Tp, str] = {}
        limit = to.sink.limit_bytes(to.topic)
        self._most_bytes = most_bytes(to.topic, limit, pipeline.task, self._live.columns)
        self._answerer = Answerer(pipeline, champion, self._live, limit)

    def step(self, block_ms: int) -> bool:
        """Serve the requests that have come; return whether there were any."""
        self._follow()
        polled = self._requests.poll(block_ms, self._max_batch)
        swapped = self._champion.refresh()
        if not (polled or swapped or self._held):
            self._tell()
            self._requests.commit()
            return False
        served, refused = self._serve(polled)
        ends = {tp_name(tp): end for tp, end in self._to.sink.flush().items() if tp.topic == self._to.topic}
        if served:
            self._board.call(self._count_fresh)
        requests = {tp_name(p.tp): p.end for p in polled}
        note = self._note
        self._note = ServerNote(
            note.requests | requests,
            note.predictions | ends,
            self._champion.newest,
            note.served + served,
            self._champion.engines,
            note.partitions,
            note.refused + refused,
        )
        self._requests.answered(polled)
        if not self._held:
            self._remember()
        return bool(polled)

    def _follow(self) -> None:
        """Take up the partitions that this server shall have now; all before where it begins one is answered."""
        at = self._requests.follow(self._held)
        if at is None:
            return
        self._held = {tp: text for tp, text in self._held.items() if tp in at}
        requests = self._note.requests | {tp_name(tp): offset for tp, offset in at.items()}
        self._note = replace(self._note, requests=requests, partitions=tuple(sorted(tp.partition for tp in at)))
        self._noted = bool(self._held)

    def _remember(self) -> None:
        """Note what was served, and commit the requests' positions: every one is answered or has a letter."""
        self._noted = False
        self._tell()
        self._requests.commit()

    def _tell(self) -> None:
        """Note on the board what was served; while the store does not answer, that waits."""
        if not self._noted and self._board.due:
            self._noted = bool(self._board.call(self._put))

    def _put(self) -> bool:
        self._store.put(self._pipeline.name, SERVER.entry(self._note, self._name) | self._freshness | self._broken)
        self._freshness, self._broken = {}, {}
        return True

    def _count_fresh(self) -> None:
        """Count what the predictions just written are the first to know."""
        if self._name in (SERVER.name, f"{SERVER.name}-0"):  # of several, one measures for all
            self._freshness |= self._fresh.written(self._live.arrived, self._champion.commit)
        self._live.arrived.clear()

    def _serve(self, polled: list[Polled]) -> tuple[int, int]:
        """Answer what can be answered, and write letters of the rest; return how many were answered, and refused."""
        asked: list[Asked] = []
        letters = {p.tp: [Letter(p.tp, start, end, reason, None) for start, end, reason in p.rejected] for p in polled}
        for record in chain.from_iterable(part.records for part in polled):
            try:
                asked.append(self._read(record))
            except Skipped:
                continue
            except MalformedEvent as wrong:
                letters[_tp(record)].append(_letter(record, wrong))
        unanswered = 0
        for record, why in self._answer(asked):
            letters[_tp(record)].append(_letter(record, why))
            unanswered += 1
        if self._guarded and (broken := self._guarded.take(asked)):
            self._broken = BROKEN.entry(broken)
        self._write({tp: sorted(of, key=lambda letter: letter.start) for tp, of in letters.items()})
        return len(asked) - unanswered, sum(letter.end - letter.start for of in letters.values() for letter in of)

    def _read(self, record: Record) -> Asked:
        """Read a request.

        Raises:
            MalformedEvent: it cannot be read, whichever error a user's reader raises.
            Skipped: it is no event.
        """
        read: object = None
        try:
            read = self._pipeline.request(record)
            request = _bounded(record, as_request(self._pipeline.request, read), self._most_bytes)
            return Asked(record, request, self._encoder.decode(request.features), self._theirs(record, request))
        except Skipped:
            raise
        except (Exception, SystemExit) as wrong:  # a user's reader may raise anything; the record is kept
            raise MalformedEvent(reason_of(wrong) if read else raised(self._pipeline.request, wrong)) from wrong

    def _write(self, letters: dict[Tp, list[Letter]]) -> None:
        """Have letters acknowledged, as far as their limit goes; the rest is held, with the positions after it."""
        for tp in letters.keys() | self._held.keys():
            held = self._dead.limited(tp, letters.get(tp, []), self._held.pop(tp, ""), HOLD_S)
            if held:
                self._held[tp] = held
        if self._dead.queued:
            self._dead.flush()

    def _answer(self, asked: list[Asked]) -> Iterator[tuple[Record, Exception]]:
        """Send the predictions; yield each record whose request cannot be answered, with the reason."""
        self._board.call(self._live.refresh)
        for one, made in self._answerer.answer(asked):
            if isinstance(made, Exception):
                yield one.record, made
                continue
            tp = Tp(self._to.topic, one.record.partition % self._to.partitions)
            self._to.sink.send(tp, key=one.request.id.encode(), value=made, t_ms=one.request.t_ms)


def _tp(record: Record) -> Tp:
    return Tp(record.topic, record.partition)


def _letter(record: Record, wrong: Exception) -> Letter:
    return Letter(_tp(record), record.offset, record.offset + 1, reason_of(wrong), record)


def _bounded(record: Record, request: Request, most_bytes: int) -> Request:
    """Return the request.

    Raises:
        MalformedEvent: its id or its features are larger than the join, or a record of its prediction, takes, or it has
            no time.
    """
    if not 0 < (length := len(request.id.encode())) <= ID_BYTES:
        raise MalformedEvent(id_fault(length))
    if (size := len(request.features)) + ID_COST * length > most_bytes:
        raise MalformedEvent(f"features of {size:,} bytes; at most {most_bytes - ID_COST * length:,} are served")
    if request.t_ms < 0:
        raise MalformedEvent(why_no_time(record, request.t_ms))
    return request
