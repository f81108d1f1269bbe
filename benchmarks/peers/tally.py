"""What a contender reports: when it began, when it had joined all, and when it saw which id.

Owns the exchange with the parent: "ready" and "go" on the standard streams, the result in a file. Imports only the
standard library, because it also runs in the peers' environment.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any, NoReturn


class Tally:
    """One contender's run. `task` has the keys bootstrap, predictions, outcomes, pairs, folder and watch.

    `watch` says whether to note when each id came.
    """

    def __init__(self) -> None:
        self.task: dict[str, Any] = json.loads(sys.argv[1])
        self.began_s = self._worked_s = 0.0
        self._joined = 0
        self._seen: list[tuple[str, float]] = []

    def await_go(self) -> None:
        """Report that all is imported and connected, and wait until the parent says to begin."""
        print("ready", flush=True)
        sys.stdin.readline()

    def begin(self) -> None:
        """Note the times of the first event, by the clock and of the processor; later calls do nothing."""
        if not self.began_s:
            self.began_s, self._worked_s = time.time(), time.process_time()

    def joined(self, id_: str) -> None:
        """Count a sample; the last one ends the process."""
        self._joined += 1
        if self.task["watch"]:
            self._seen.append((id_, time.time()))
        if self._joined == self.task["pairs"]:
            self.end(2 * self._joined)

    def end(self, events: int, rejected: int = 0) -> NoReturn:
        """Write the result and end the process, whatever threads there are."""
        result = {"began_s": self.began_s, "ended_s": time.time(), "events": events, "rejected": rejected}
        result |= {"seen": self._seen, "worked_s": time.process_time() - self._worked_s}
        path = Path(self.task["folder"], f"{os.getpid()}.part")
        path.write_text(json.dumps(result))
        path.rename(path.with_suffix(".json"))
        os._exit(0)
