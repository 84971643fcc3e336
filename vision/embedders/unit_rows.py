"""Features of norm 1 from the rows that a network in torch gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

if TYPE_CHECKING:
    from numpy.typing import NDArray


def unit_rows(rows: Sequence[torch.Tensor], dimensions: int) -> NDArray[np.float32]:
    """Return `rows` stacked as float32, each of norm 1; zeros stay zeros."""
    if not rows:
        return np.empty((0, dimensions), dtype=np.float32)
    stacked = torch.stack(list(rows)).float().cpu()
    unit: NDArray[np.float32] = nn.functional.normalize(stacked, dim=1).numpy()
    return unit
