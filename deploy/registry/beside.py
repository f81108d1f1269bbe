"""Work on a registry in a thread beside a run.

Owns that it ends with the run. Does not know what it does.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread


@contextmanager
def beside(name: str, work: Callable[[Event], None]) -> Iterator[None]:
    """Do work in a thread of that name for the `with`, whose end sets the event that the work waits for."""
    ended = Event()
    thread = Thread(target=work, args=(ended,), name=name)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
