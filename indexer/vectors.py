"""The checks of vectors and labels before they enter an index.

hnswlib accepts NaN and invalid labels silently, so everything must be checked here first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float32]

#: How far a norm may be from 1. Rounding to half precision moves it by 5e-4 at most.
NORM_TOLERANCE = 1e-3

#: Labels are below this, so that they fit a signed 64-bit integer.
LABEL_LIMIT = 2**63


def check_vectors(vectors: NDArray[np.float32], dimensions: int) -> None:
    """Check that `vectors` is (n, dimensions), float32, finite, each of norm 1.

    Raises ValueError, with the position of the first invalid vector, if not.
    """
    if vectors.dtype != np.float32:
        raise ValueError(f"vectors must be float32, not {vectors.dtype}")
    if vectors.ndim != 2 or vectors.shape[1] != dimensions:
        raise ValueError(f"vectors must be (n, {dimensions}), not {vectors.shape}")
    finite = np.isfinite(vectors).all(axis=1)
    if not finite.all():
        raise ValueError(f"vector {int(np.argmin(finite))} has a number that is not finite")
    norms = np.linalg.norm(vectors.astype(np.float64), axis=1)
    wrong = np.abs(norms - 1.0) > NORM_TOLERANCE
    if wrong.any():
        place = int(np.argmax(wrong))
        raise ValueError(f"vector {place} has the norm {norms[place]:.4g}, not 1")


def faults_of(vectors: Mapping[int, Vector], dimensions: int) -> dict[int, str]:
    """Return the fault of each vector (dimensions,) that is invalid, by label; {} if none is."""
    try:
        if vectors:
            check_vectors(np.stack(list(vectors.values())), dimensions)
    except ValueError:
        found = {label: _fault_of(vector, dimensions) for label, vector in vectors.items()}
        return {label: fault for label, fault in found.items() if fault is not None}
    return {}


def _fault_of(vector: Vector, dimensions: int) -> str | None:
    try:
        check_vectors(vector[np.newaxis], dimensions)
    except ValueError as error:
        return str(error)
    return None


def check_additions(labels: Sequence[int], vectors: NDArray[np.float32], dimensions: int) -> None:
    """Check that there is a label, above 0 and below 2**63, for each vector, and the vectors.

    Raises ValueError if not; see `check_vectors`.
    """
    check_vectors(vectors, dimensions)
    if len(labels) != len(vectors):
        raise ValueError(f"{len(labels)} labels for {len(vectors)} vectors")
    for label in labels:
        if not 0 < label < LABEL_LIMIT:
            raise ValueError(f"label {label} is not between 1 and 2**63 - 1")


def check_query(vectors: NDArray[np.float32], k: int, dimensions: int) -> None:
    """Check that the vectors are valid and `k` is 1 or more; raises ValueError if not."""
    check_vectors(vectors, dimensions)
    if k < 1:
        raise ValueError(f"k must be 1 or more, not {k}")
