"""The types of what the fixtures make vectors with."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]

#: Makes so many unit vectors in clusters: `clustered(count, dimensions, seed)`.
MakeVectors = Callable[..., Vectors]

#: Moves unit vectors a little: `near(vectors, seed)`.
MoveVectors = Callable[..., Vectors]
