"""The checks of vectors and labels before they enter an index.

hnswlib accepts NaN and invalid labels silently, so everything must be checked here first.

An image may have several vectors, its parts. Where vectors come as one array, their labels come
beside it, one for each vector, and the parts of an image follow one another.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float32]

#: How far a norm may be from 1. Rounding to half precision moves it by 5e-4 at most.
NORM_TOLERANCE = 1e-3

#: The most vectors of an image.
PARTS_LIMIT = 8

#: Labels are below this, so that a label and the number of a part fit a signed 64-bit integer.
LABEL_LIMIT = 2**60


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


def faults_of(vectors: Mapping[int, Vector], dimensions: int, parts: int = 1) -> dict[int, str]:
    """Return the fault of each image whose vectors (n, dimensions) are invalid, by label.

    `parts` is the most that an image may have. One invalid part makes all of them invalid.
    """
    found = {label: _fault_of(vector, dimensions, parts) for label, vector in vectors.items()}
    return {label: fault for label, fault in found.items() if fault is not None}


def _fault_of(vectors: Vector, dimensions: int, parts: int) -> str | None:
    try:
        check_vectors(vectors, dimensions)
        _check_parts(len(vectors), parts)
    except ValueError as error:
        return str(error)
    return None


def _check_parts(count: int, parts: int) -> None:
    if not 0 < count <= parts:
        raise ValueError(f"an image has 1 to {parts} vectors, not {count}")


def check_additions(
    labels: Sequence[int], vectors: NDArray[np.float32], dimensions: int, parts: int = 1
) -> dict[int, slice]:
    """Check vectors and their labels, and return where the parts of each label are.

    A label is above 0 and below 2**60; its parts, at most `parts`, follow one another. Raises
    ValueError if not; see `check_vectors`.
    """
    check_vectors(vectors, dimensions)
    if len(labels) != len(vectors):
        raise ValueError(f"{len(labels)} labels for {len(vectors)} vectors")
    runs = runs_of(labels)
    for label, run in runs.items():
        if not 0 < label < LABEL_LIMIT:
            raise ValueError(f"label {label} is not between 1 and 2**60 - 1")
        if run.stop - run.start > parts:
            raise ValueError(f"label {label} has {run.stop - run.start} vectors, not 1 to {parts}")
    return runs


def runs_of(labels: Iterable[int]) -> dict[int, slice]:
    """Return where each label stands; raises ValueError if it stands in two places."""
    runs: dict[int, slice] = {}
    start = 0
    for label, same in groupby(labels):
        stop = start + sum(1 for _ in same)
        if label in runs:
            raise ValueError(f"the vectors of label {label} do not follow one another")
        runs[label] = slice(start, stop)
        start = stop
    return runs


def positions_in(runs: Iterable[slice]) -> list[int]:
    """Return all positions of slices, in their order."""
    return [position for run in runs for position in range(run.start, run.stop)]


def in_one_array(vectors: Mapping[int, Vector]) -> tuple[list[int], Vector]:
    """Return the vectors (n, dimensions) of images as one array, after the label of each."""
    labels = [label for label, parts in vectors.items() for _ in range(len(parts))]
    return labels, np.concatenate(list(vectors.values()))


def check_query(vectors: NDArray[np.float32], k: int, dimensions: int) -> None:
    """Check that the vectors are valid and `k` is 1 or more; raises ValueError if not."""
    check_vectors(vectors, dimensions)
    if k < 1:
        raise ValueError(f"k must be 1 or more, not {k}")
