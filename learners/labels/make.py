"""Which running trust a pipeline has. It imports numba only where ranges are watched."""

from learners.labels.running import RunningTrust
from learners.labels.settings import Trust
from learners.labels.sources import Named, Ranges
from learners.labels.trust import TrustBySource
from learners.live.features.fields import fields_of
from learners.tasks.task import Task


def running_trust(spec: Trust, task: Task, features: type) -> RunningTrust:
    """Return the trust in the sources of a task's samples, which has seen nothing yet.

    Raises:
        ConfigError: no source is named, and no field of the features can be read.
    """
    if spec.source is not None:
        return TrustBySource(spec, task, Named(spec.source))
    from learners.labels.ranges import TrustByRange  # noqa: PLC0415 numba takes 60 MB of each process, and half a second

    return TrustByRange(spec, task, Ranges(fields_of(features)))
