"""Vectors that lie as features do: in clusters."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from numpy.typing import NDArray

MakeVectors = Callable[..., "NDArray[np.float32]"]


def unit(vectors: NDArray[np.floating]) -> NDArray[np.float32]:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def clustered() -> MakeVectors:
    """Give a function that makes `count` unit vectors, about 20 in a cluster."""

    def make(count: int, dimensions: int = 32, seed: int = 1) -> NDArray[np.float32]:
        random = np.random.default_rng(seed)
        centres = random.standard_normal((max(1, count // 20), dimensions))
        spread = 0.5 * random.standard_normal((count, dimensions))
        return unit(centres[random.integers(0, len(centres), count)] + spread)

    return make


@pytest.fixture
def near() -> Callable[..., NDArray[np.float32]]:
    """Give a function that moves unit vectors a little."""

    def move(vectors: NDArray[np.float32], seed: int = 2) -> NDArray[np.float32]:
        random = np.random.default_rng(seed)
        return unit(vectors + 0.15 * random.standard_normal(vectors.shape))

    return move
