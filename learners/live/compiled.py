"""Functions that numba compiles, and the arrays that they take.

Float operations stay in their order (no `fastmath`), and a division by zero is infinite, as numpy's is. The only file
that imports numba.
"""

from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar, cast

import numpy as np
from numba import njit
from numpy.typing import NDArray

from learners.live.features.rows import Doubles as Doubles
from learners.live.features.rows import Ints as Ints
from learners.live.features.rows import UInts as UInts

F = TypeVar("F", bound=Callable[..., Any])
Floats: TypeAlias = NDArray[np.float32]
Bools: TypeAlias = NDArray[np.bool_]


def compiled(function: F) -> F:
    """Return the function compiled, and kept on disk where there is a place for it."""
    try:
        return cast(F, njit(cache=True, nogil=True, error_model="numpy")(function))
    except RuntimeError:  # nothing near the file can be written, and there is no home
        return cast(F, njit(nogil=True, error_model="numpy")(function))
