"""Samples that are held: learned once a person releases them, and said to people while they are.

Owns both. Does not know why a source is held, or when a person is asked.
"""

import logging
from collections.abc import Sequence

from deploy.registry.held import Withheld
from learners.commits.commit import Ruling
from learners.commits.draft import Draft
from learners.labels.running import RunningTrust
from learners.online.learner import Learner
from streams.readers import read_sample


def rule(learner: Learner, draft: Draft, ruling: Ruling, released: Sequence[Withheld]) -> None:
    """Take a person's word on a source, and learn what it releases, into an empty draft."""
    learner.rule(ruling.source, ruling.said)
    draft.rulings, draft.ruled = [ruling], draft.ruled + 1
    for part in learner.batches(released):
        samples = read_sample.each([one.sample for one in part])
        shadow = learner.learn(samples).tolist()
        latest_ms = max(sample.prediction.t for sample in samples)
        draft.add([one.slot for one in part], [bytes(one.sample) for one in part], shadow, latest_ms)
    draft.released = len(draft.samples)


class Notices:
    """Tells people which sources are held, each once while it is."""

    def __init__(self) -> None:
        self._said = set[str]()

    def say(self, trust: RunningTrust) -> None:
        """Tell of the sources that are held since the last look."""
        for name in sorted(trust.held.keys() - self._said):
            logging.getLogger("shadowstream").warning(
                "learner: samples of %s are held, not learned: they speak against what is known by %.2f nats a sample; "
                "`shadowstream held` lists them, `release` or `drop` decides", name, trust.held[name].excess,
            )  # fmt: skip
        self._said = set(trust.held)
