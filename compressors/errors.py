"""Every error that compression raises on purpose, and the map of them.

    ValueError
    ├── ArtifactError            these bytes are not an artifact that this version, or this model, can run
    ├── EngineError              no engine but torch can run this model here
    └── Refused                  the artifact does not answer as the training form does
    ImportError
    └── UntestedTorch            this version of torch has private parts that were not tested
    RuntimeError
    └── Lost                     structured pruning cannot follow these units through the model
    Exception
    └── OutOfTime                the advisor's budget of minutes is used up; never reaches a user
    UserWarning
    └── EmptiedWarning           a prune step left nothing of a layer's weights

Whoever uses `compressors` alone meets the first two as ValueErrors, and need not know Shadowstream's own errors.
Imports nothing.
"""


class ArtifactError(ValueError):
    """These bytes are not an artifact that this version, or this model, can run; the message says why.

    >>> load_artifact(b"no artifact", lambda: None)
    Traceback (most recent call last):
    compressors.errors.ArtifactError: not an artifact, or its head is damaged (11 bytes): ...
    """


class EngineError(ValueError):
    """No engine but torch can run this model here; the message says why."""


class Refused(ValueError):
    """The artifact does not answer as the training form does; the message has the recipe and the largest difference.

    >>> issubclass(Refused, ValueError)
    True
    """


class UntestedTorch(ImportError):
    """The installed torch was not tested; the message names its version and those that were."""


class Lost(RuntimeError):
    """These units cannot be followed; the message says why."""


class OutOfTime(Exception):
    """The budget's minutes are over."""


class EmptiedWarning(UserWarning):
    """A prune step left nothing of a layer's weights: it gives its bias whatever comes in, and cannot learn."""
