"""N rows as read, and the arrays that they are made of. Owns these types. Does not know who reads or learns."""

from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

UInts: TypeAlias = NDArray[np.uint32]
Doubles: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]


class Rows(NamedTuple):
    """Each category's token, each number, and the words of all texts; 0 is no token, NaN no number."""

    tokens: UInts  # (N, categories)
    numbers: Doubles  # (N, numbers)
    words: UInts
    ends: Ints  # (N,), of each row's words
