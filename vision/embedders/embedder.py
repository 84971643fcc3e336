"""The interface of an embedder."""

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


def unit_rows(rows: Sequence[torch.Tensor], dimensions: int) -> NDArray[np.float32]:
    """Return `rows` stacked as float32, each of norm 1; zeros stay zeros."""
    if not rows:
        return np.empty((0, dimensions), dtype=np.float32)
    stacked = torch.stack(list(rows)).float().cpu()
    unit: NDArray[np.float32] = nn.functional.normalize(stacked, dim=1).numpy()
    return unit
