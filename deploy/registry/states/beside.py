"""Whole states, written beside learning.

Right after a commit all of the state is copied, and only for that learning stands still; a thread makes bytes of the
copy and writes them. So a state may come after later commits, or never: a start then learns more again. Nothing forks,
as the threads of torch and Ray hold locks. Owns when a state is due, its copy, and what it costs. Does not know who
reads it.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import torch
from torch import Tensor

from deploy.registry.registry import Registry
from deploy.registry.states import kept
from deploy.registry.states.names import Name, listed
from learners.commits.copies import Copies
from learners.online.learner import Learner
from streams.errors import ShadowstreamError

TIMES = 50  # as much processor goes into learning between two states, so that states take 2 % of it at most


class States:
    """The states of one learner, the only one of its feed.

    One is due after `relearn_s` processor seconds of learning, which a start would have to learn again, or `TIMES` what
    the last one took to write, whichever is longer.
    """

    def __init__(self, registry: Registry, learner: Learner, relearn_s: float) -> None:
        self._registry, self._learner, self._relearn_s = registry, learner, relearn_s
        self._thread = ThreadPoolExecutor(1, "states", torch.set_num_threads, (torch.get_num_threads(),))
        self._writing: Future[float] | None = None
        self._copies = Copies()
        self._next = 1 + max((name.ordinal for name in listed(registry.objects)), default=0)
        self._learned_s = self._took_s = 0.0
        self.newest = -1  # the number of the commit whose state was gone on from or taken last

    @contextmanager
    def learning(self) -> Iterator[None]:
        """Count the processor time of the `with`, in which this thread learns."""
        began_s = time.thread_time()
        try:
            yield
        finally:
            self._learned_s += time.thread_time() - began_s

    def gone_on(self, begin: Callable[[], int]) -> None:
        """Have learning go on from a state; `begin` loads it, learns again what follows, and returns its commit."""
        self._learned_s = 0.0
        with self.learning():
            self.newest = begin()

    @property
    def due(self) -> bool:
        """Whether a state is due by what was learned; none is while one is being written."""
        if self._writing is not None and not self._writing.done():
            return False
        self.settle()
        return self._learned_s >= max(self._relearn_s, TIMES * self._took_s)

    def take(self, number: int, chain: str) -> None:
        """Copy the state, which is that after commit `number`, and have it written; `chain` is the commit's digest.

        One that is still being written is waited for, as its copy's memory is used again.
        """
        self.settle()
        began_s = time.thread_time()
        state = self._copies.of(self._learner.state(), self._learner.frozen)
        name, frozen, copied_s = Name(number, self._next, chain), self._learner.frozen, time.thread_time() - began_s
        self._writing = self._thread.submit(self._write, name, state, frozen, copied_s)
        self.newest, self._next, self._learned_s = number, self._next + 1, 0.0

    def settle(self) -> None:
        """Wait until what was taken is written."""
        if self._writing is not None:
            self._took_s, self._writing = self._writing.result(), None

    def _write(self, name: Name, state: Mapping[str, Tensor], frozen: set[str], copied_s: float) -> float:
        """Write a state; return the processor seconds that it took with its copy."""
        began_s = time.thread_time()
        try:
            kept.write(self._registry, name, state, frozen)
        except (ShadowstreamError, OSError) as wrong:
            text = "learner: the state after commit %d is not kept, and a start learns more again: %s"
            logging.getLogger("shadowstream").warning(text, name.number, wrong)
        return copied_s + time.thread_time() - began_s
