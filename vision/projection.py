"""A linear map that makes features shorter without changing what is like what.

Knows vectors and a weights file; nothing of pictures or of how the map was found.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from PIL import Image

    from vision.embedder import Embedder

#: The map that comes with the project, for features of EfficientNet-Lite0's packaged weights.
COMMITTED_FILE = Path(__file__).parent / "trained" / "feature-projection.safetensors"
#: The name of the one tensor in the file, of shape (numbers before, numbers after).
TENSOR = "projection"


class Projection:
    """The map in one file."""

    def __init__(self, path: Path = COMMITTED_FILE) -> None:
        """Read the map. Raises ValueError where the file can't be read or holds none."""
        try:
            matrix = load_file(path)[TENSOR].astype(np.float32)
        except (OSError, SafetensorError, KeyError) as error:
            raise ValueError(f"cannot read the weights file {path}: {error}") from error
        if matrix.ndim != 2:
            raise ValueError(f"the weights file {path} holds no matrix")
        self._matrix = matrix
        self.fingerprint = hashlib.sha256(
            f"{matrix.shape}".encode() + matrix.tobytes()
        ).hexdigest()[:16]

    @property
    def sizes(self) -> tuple[int, int]:
        """How many numbers a feature has before, and how many after."""
        before, after = self._matrix.shape
        return before, after

    def apply(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map features of shape (n, before) to (n, after), float32, each of length 1.

        Zeros stay zeros, and what is not finite stays so.
        """
        shorter = np.empty((len(features), self._matrix.shape[1]), dtype=np.float32)
        # One by one: the sums of a product of matrices depend on how many rows there are, and
        # a picture is to have the same feature alone and among others, bit by bit.
        for row, feature in enumerate(features):
            mapped = feature @ self._matrix
            length = np.linalg.norm(mapped)
            shorter[row] = mapped / length if length else mapped
        return shorter


class ProjectedEmbedder:
    """An embedder whose features are made shorter by a map."""

    def __init__(self, embedder: Embedder, projection: Projection) -> None:
        """Join the two. Raises ValueError where the map is for features of another length."""
        before, after = projection.sizes
        if before != embedder.dimensions:
            raise ValueError(
                f"the projection takes {before} numbers, the embedder gives {embedder.dimensions}"
            )
        self._embedder = embedder
        self._projection = projection
        self.dimensions = after
        self.fingerprint = f"{embedder.fingerprint}>projection({projection.fingerprint})"

    def embed(self, images: Sequence[Image.Image]) -> NDArray[np.float32]:
        """Give features of shape (n, dimensions), float32, each of length 1."""
        return self._projection.apply(self._embedder.embed(images))
