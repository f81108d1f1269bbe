"""Every error that compression raises on purpose, and the map of them.

    ValueError
    ├── ArtifactError            these bytes are not an artifact that this version, or this model, can run
    ├── EngineError              no engine but torch can run this model here
    │   └── Unexportable             nor elsewhere: it cannot be put into an ONNX file
    ├── Refused                  the artifact must not serve: its answers or losses are not what they should be
    └── Unsuited                 model, rows and task do not suit each other
    ImportError
    └── UntestedTorch            this version of torch has private parts that were not tested
    RuntimeError
    └── Lost                     structured pruning cannot trace these units through the model
    Exception
    └── OutOfTime                the advisor's budget of minutes is used up; never reaches a user
    UserWarning
    └── EmptiedWarning           a prune step left nothing of a layer's weights

A program that uses `compressors` alone can catch those under ValueError as that. Imports nothing.
"""

MOST_CHARACTERS = 1_000


def printable(text: str) -> str:
    """Return a text in which every character can be printed: of control characters, and of what hides, the escapes.

    >>> printable("red\\x1b[31m")
    'red\\\\x1b[31m'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class ArtifactError(ValueError):
    """These bytes are not an artifact that this version, or this model, can run; the message says why.

    >>> load_artifact(b"no artifact", lambda: None)
    Traceback (most recent call last):
    compressors.errors.ArtifactError: not an artifact, or its head is damaged (11 bytes): ...
    """

    def __init__(self, message: object) -> None:
        super().__init__(printable(str(message))[:MOST_CHARACTERS])


class EngineError(ValueError):
    """No engine but torch can run this model here; the message says why."""


class Unexportable(EngineError):
    """This model cannot be put into an ONNX file, whatever its weights; the message says why."""


class Refused(ValueError):
    """The artifact must not serve; the message has the recipe and the reason.

    Either the artifact does not answer as the training form does, or a loss on the held-out rows is not finite.

    >>> import torch
    >>> rows = Data(torch.full((40, 1), 3e38), torch.zeros(40))  # more than int8's sums can scale
    >>> compress(torch.nn.Linear(1, 1), "quantize(int8)", rows, Regression())
    Traceback (most recent call last):
    compressors.errors.Refused: quantize(int8): artifact and training form disagree: largest difference nan, ...
    """


class Unsuited(ValueError):
    """Model, rows and task do not suit each other; the message names what was given, and what would be right.

    >>> import torch
    >>> compress(torch.nn.Linear(4, 1), "quantize(int8)", Data(torch.zeros(10, 4), ["yes"] * 10), Binary())
    Traceback (most recent call last):
    compressors.errors.Unsuited: data: labels are numbers (N,), got a list of str
    """


class UntestedTorch(ImportError):
    """The installed torch was not tested with Shadowstream; the message names its version and those that were."""


class Lost(RuntimeError):
    """These units cannot be traced through the model; the message says why."""


class OutOfTime(Exception):
    """The budget's minutes are over."""


class EmptiedWarning(UserWarning):
    """A prune step masked every weight of a layer: it returns its bias whatever its input, and cannot learn."""
