"""What an embedder is: pictures in, features of length 1 whose cosine tells likeness out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import nn

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image


class Embedder(Protocol):
    """Turns pictures into features."""

    @property
    def dimensions(self) -> int:
        """How many numbers a feature has."""

    @property
    def fingerprint(self) -> str:
        """Text that changes with anything that could change a feature."""

    def embed(self, images: Sequence[Image.Image]) -> NDArray[np.float32]:
        """Return one feature per RGB picture: shape (n, dimensions), each of length 1.

        A picture that the model sees nothing in may have a feature of zeros; one that
        upsets the model may have a feature that is not finite.
        """


def unit_rows(rows: Sequence[torch.Tensor], dimensions: int) -> NDArray[np.float32]:
    """Stack `rows` as float32 of length 1 each; zeros stay zeros."""
    if not rows:
        return np.empty((0, dimensions), dtype=np.float32)
    stacked = torch.stack(list(rows)).float().cpu()
    unit: NDArray[np.float32] = nn.functional.normalize(stacked, dim=1).numpy()
    return unit
