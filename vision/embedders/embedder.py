"""The interface of an embedder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image


class Embedder(Protocol):
    """Makes features of pictures, whose cosine measures similarity."""

    @property
    def dimensions(self) -> int:
        """How many numbers a feature has."""

    @property
    def fingerprint(self) -> str:
        """A text that differs whenever features could differ; part of the model id."""

    def embed(self, images: Sequence[Image.Image]) -> NDArray[np.float32]:
        """Return a feature for each RGB picture: shape (n, dimensions), each of norm 1.

        The feature of a picture may also be zeros or not finite, which callers must check.
        """
