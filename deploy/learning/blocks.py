"""Blocks: how the servers' live experts follow the learner's, on the board, where they may be lost.

After each commit a block says what it changed, in absolute values; a *base* says all, and the blocks after it count
from it. Every learner, and one that went back, begins a new run of blocks with a base, so a server that has a block
answers by exactly the state after its commit. Owns this order. Does not know what is in a state.
"""

import secrets
from collections import deque
from collections.abc import Sequence

import torch

from deploy.registry.kinds import BLOCKS, LEARNER, block_name
from deploy.registry.notes import BlocksNote, LearnerNote
from learners.commits.state import pack_state
from learners.online.learner import Learner
from streams.join.store import Store

MOST, MOST_BYTES = 64, 8 << 20  # blocks after one base: what a server reads that comes late


def tell(store: Store, feed: str, learner: Learner) -> None:
    """Say what a learner knows that has not begun yet: servers answer before it does."""
    if learner.live:
        Blocks(store, feed, learner)
    store.put(feed, LEARNER.entry(LearnerNote(learner.learned, learner.intercept.value, {}, 0, 0)))


class Blocks:
    """The blocks of one learner."""

    def __init__(self, store: Store, feed: str, learner: Learner) -> None:
        self._store, self._feed, self._learner = store, feed, learner
        self.begin()

    def begin(self) -> None:
        """Begin a new run: the learner has another state than the last block led to."""
        self._note = BlocksNote(secrets.randbits(62), 0, 0)
        self._arrived = deque[list[tuple[int, int, int]]](maxlen=MOST + 1)
        self._base()

    def publish(self, arrived: Sequence[tuple[int, int]] = ()) -> None:
        """Say what changed since the last block; to be called when its commit is durable.

        What the commit has learned had `arrived`: times in ms by the store's clock, and counts.
        """
        run, number, base = self._note
        self._arrived.append([(number + 1, *one) for one in arrived])
        self._note = BlocksNote(run, number + 1, base)
        data = self._packed(whole=False)
        self._bytes += len(data)
        if number + 1 - base > MOST or self._bytes > MOST_BYTES:
            self._base()
        else:
            self._store.put(self._feed, {block_name(number + 1 - base): data} | BLOCKS.entry(self._note))

    def _base(self) -> None:
        run, number, _ = self._note
        self._note, self._bytes = BlocksNote(run, number, number), 0
        self._store.put(self._feed, {block_name(): self._packed(whole=True)} | BLOCKS.entry(self._note))
        self._store.drop(self._feed, [block_name(of) for of in range(1, MOST + 1)])

    def _packed(self, *, whole: bool) -> bytes:
        """Return the block's bytes; a base stands for the blocks before it, too, and has what they have learned."""
        parts = list(self._arrived) if whole else [self._arrived[-1]]
        arrived = torch.tensor([row for part in parts for row in part], dtype=torch.int64).reshape(-1, 3)
        changes = self._learner.changes(whole=whole)
        return pack_state(changes | {"at": torch.tensor(self._note), "arrived": arrived})
