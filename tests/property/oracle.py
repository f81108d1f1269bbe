"""The join in plain Python: one shard, by the protocol's table, kept as simply as can be."""

from dataclasses import dataclass, field
from hashlib import sha1

from msgspec.structs import replace

from streams.step import COUNTERS, Move, Position, Step


@dataclass
class Entry:
    """What is held of an id: `state` is waiting, early or done."""

    state: str
    t: int = 0
    body: str = ""


@dataclass
class Oracle:
    """A shard. `samples` holds (stream ID, body); `windows` and `markers` hold (time, id)."""

    positions: dict[str, Position]
    seq: int = 0
    chain: str = "0"
    watermark: int = 0
    token: str = ""
    entries: dict[str, Entry] = field(default_factory=dict)
    windows: list[tuple[int, str]] = field(default_factory=list)
    markers: list[tuple[int, str]] = field(default_factory=list)
    samples: list[tuple[str, str]] = field(default_factory=list)
    count: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTERS, 0))

    def step(self, step: Step, elapsed_ms: int = 0) -> None:
        """Apply a step; `elapsed_ms` is what the store's clock did since the last one."""
        applies = [self.positions[move.tp].next == move.start for move in step.moves]
        due = (step.closing and self.windows) or self._due(self.windows, 1) or self._due(self.markers, 1)
        if step.token == self.token or not (any(applies) if step.moves else due):
            return
        self.token = step.token
        self.chain = str(int(sha1((self.chain + step.token).encode()).hexdigest()[:13], 16))
        opens: list[tuple[int, str]] = []
        drops: list[tuple[int, str]] = []
        for which, key, t, body in zip(step.which, step.ids, step.times, step.bodies, strict=True):
            if applies[which - 1]:
                apply = self._outcome if step.moves[which - 1].outcomes else self._prediction
                apply(step, key, t, body, opens, drops)
        self._advance(step, applies, elapsed_ms)
        closed = self.windows[:256] if step.closing else self._due(self.windows, 256)
        dropped = self._due(self.markers, 512)
        for deadline, key in closed:
            self._close(step, deadline, key, drops)
        for _, key in dropped:
            self.entries.pop(key, None)
        self.windows = self.windows[len(closed) :] + opens
        self.markers = self.markers[len(dropped) :] + drops

    def _due(self, items: list[tuple[int, str]], most: int) -> list[tuple[int, str]]:
        late = next((i for i, (t, _) in enumerate(items[:most]) if t >= self.watermark), most)
        return items[:late]

    def _prediction(
        self, step: Step, key: str, t: int, body: str, opens: list[tuple[int, str]], drops: list[tuple[int, str]]
    ) -> None:
        self.count["predictions"] += 1
        held = self.entries.get(key)
        if t + step.window_ms + step.keep_ms < self.watermark:
            self.count["prediction_too_late"] += 1
        elif held and held.state != "early":
            self.count["prediction_duplicate"] += 1
        elif held and held.t <= t + step.window_ms:
            self.count["opened"] += 1
            self.count["early"] -= 1
            self._join(step, key, (t, body), (held.t, held.body), drops)
        else:
            self.count["opened"] += 1
            self.count["waiting"] += 1
            if held:
                self.count["early"] -= 1
                self.count["late"] += 1
            self.entries[key] = Entry("waiting", t, body)
            opens.append((t + step.window_ms, key))

    def _outcome(
        self, step: Step, key: str, t: int, body: str, opens: list[tuple[int, str]], drops: list[tuple[int, str]]
    ) -> None:
        self.count["outcomes"] += 1
        held = self.entries.get(key)
        if t + step.window_ms + step.keep_ms < self.watermark:
            self.count["outcome_too_late"] += 1
        elif not held:
            self.count["early"] += 1
            self.entries[key] = Entry("early", t, body)
            opens.append((t + step.window_ms, key))
        elif held.state != "waiting":
            self.count["outcome_duplicate"] += 1
        elif t > held.t + step.window_ms:
            self.count["late"] += 1
        else:
            self.count["waiting"] -= 1
            self._join(step, key, (held.t, held.body), (t, body), drops)

    def _join(
        self,
        step: Step,
        key: str,
        prediction: tuple[int, str],
        outcome: tuple[int, str],
        drops: list[tuple[int, str]],
    ) -> None:
        self.seq += 1
        self.count["joined"] += 1
        self.count["used"] += 1
        body = f'{{"kind":"joined","revision":0,"prediction":{prediction[1]},"outcome":{outcome[1]}}}'
        self.samples.append((f"{self.seq}-{self.chain}", body))
        self._done(step, key, max(prediction[0], outcome[0]), drops)

    def _done(self, step: Step, key: str, t: int, drops: list[tuple[int, str]]) -> None:
        self.entries[key] = Entry("done")
        drops.append((t + step.window_ms + step.keep_ms, key))

    def _close(self, step: Step, deadline: int, key: str, drops: list[tuple[int, str]]) -> None:
        held = self.entries.get(key)
        if not held or held.state == "done" or held.t + step.window_ms > deadline:
            return
        if held.state == "waiting":
            self.count["waiting"] -= 1
            self.count["unlabelled"] += 1
            self._done(step, key, held.t, drops)
        else:
            self.count["early"] -= 1
            self.count["orphan"] += 1
            del self.entries[key]

    def _advance(self, step: Step, applies: list[bool], elapsed_ms: int) -> None:
        moves: list[Move] = [move for move, applied in zip(step.moves, applies, strict=True) if applied]
        for move in moves:
            at = self.positions[move.tp]
            last, crc = (move.last, move.crc) if move.last >= 0 else (at.last, at.crc)
            self.positions[move.tp] = replace(
                at,
                t_ms=max(at.t_ms, move.t),
                next=move.end,
                last=last,
                crc=crc,
                records=at.records + move.records,
                rejected=at.rejected + move.rejected,
                holes=at.holes + move.holes,
                lost=at.lost + move.lost,
            )
        largest = max(at.t_ms for at in self.positions.values())
        for move in moves:
            if move.idle and largest >= 0:
                at = self.positions[move.tp]
                t_ms = largest if at.t_ms < largest else largest + min(1_000, max(0, elapsed_ms))
                self.positions[move.tp] = replace(at, t_ms=t_ms)
        times = [at.t_ms for at in self.positions.values()]
        if min(times) >= 0:
            self.watermark = max(self.watermark, min(times) - step.slack_ms)
