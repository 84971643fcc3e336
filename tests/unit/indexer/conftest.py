"""Vectors that lie as features do: in clusters."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.unit.indexer.vectors import MakeVectors, MoveVectors, Vectors


def unit(vectors: NDArray[np.floating[Any]]) -> Vectors:
    """Return the vectors with length 1."""
    scaled: Vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return scaled


@pytest.fixture
def clustered() -> MakeVectors:
    """Return a function that makes `count` unit vectors, about 20 in a cluster."""

    def make(count: int, dimensions: int = 32, seed: int = 1) -> Vectors:
        random = np.random.default_rng(seed)
        centres = random.standard_normal((max(1, count // 20), dimensions))
        spread = 0.5 * random.standard_normal((count, dimensions))
        return unit(centres[random.integers(0, len(centres), count)] + spread)

    return make


@pytest.fixture
def near() -> MoveVectors:
    """Return a function that moves unit vectors a little."""

    def move(vectors: Vectors, seed: int = 2) -> Vectors:
        random = np.random.default_rng(seed)
        return unit(vectors + 0.15 * random.standard_normal(vectors.shape))

    return move
