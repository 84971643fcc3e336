"""Pictures as the input of EfficientNet-Lite's networks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray


def square_pixels(image: Image.Image, side: int) -> NDArray[np.float32]:
    """Return an RGB picture, resized to a square, as input of the EfficientNet-Lite models.

    Shape (1, 3, side, side), float32. They were trained with the scale (pixel - 127) / 128.
    """
    small = image.resize((side, side), Image.Resampling.BILINEAR)
    pixels = np.array(small, dtype=np.float32).transpose(2, 0, 1)
    scaled: NDArray[np.float32] = ((pixels - np.float32(127)) / np.float32(128))[None]
    return scaled
