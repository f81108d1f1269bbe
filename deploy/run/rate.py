"""Events a second of this run, from counters that earlier runs began."""


class Rate:
    """Events a second since the first look.

    The counters in the store go on from earlier runs, so only their growth counts. A process begins its counter at 0
    again when it starts: one that has become smaller has grown by what it shows.
    """

    def __init__(self) -> None:
        self._began_s: float | None = None
        self._before: tuple[int, ...] = ()
        self._events = 0

    def of(self, now_s: float, *counters: int) -> float | None:
        """Take a look at the counters, and return the events a second so far; None at the first look."""
        if self._began_s is None:
            self._began_s, self._before = now_s, counters
            return None
        pairs = zip(counters, self._before, strict=True)
        self._events += sum(now - before if now >= before else now for now, before in pairs)
        self._before = counters
        return self._events / max(now_s - self._began_s, 1e-9)
