"""A detector that needs no training: strong regions of EfficientNet-Lite0's last feature map."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch

from vision.backbone import STRIDE, EfficientNetLite0
from vision.box import Box

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image


#: Side of the square that the activation map is made from, in pixels.
MAP_SIDE = 320


#: The map is enlarged by this factor, in both directions, before the threshold.
CELL_SPLIT = 4


#: The share of a box's side that is cut off at each of its ends: a cell sees more than its own
#: pixels, so energy spills over the edge of an object.
SPILL = 0.1


#: The least energy at the peak of an object: plain surfaces, gradients and noise stay below 31,
#: objects reach 40 to 65.
LEAST_PEAK = 32.0


#: The least strength of an object, as a share of the strongest one's.
LEAST_SHARE = 0.1


#: The most boxes that are returned.
MOST_BOXES = 10


class ActivationMapDetector:
    """Boxes around the strong regions of EfficientNet-Lite0's last feature map.

    It needs no training and has no classes: a network that was trained on objects responds weakly
    to a background, and in other channels. Threshold and spill were tuned on pictures composed of
    one object on white or on clutter.
    """

    def __init__(self, network: EfficientNetLite0, threshold: float = 0.35) -> None:
        """Take the least strength of a cell of an object, 0 to 1."""
        self._network = network
        self._threshold = threshold
        self.fingerprint = (
            f"activation-map({network.fingerprint}, side={MAP_SIDE}, split={CELL_SPLIT},"
            f" threshold={threshold}, spill={SPILL}, peak={LEAST_PEAK})"
        )

    def detect(self, image: Image.Image) -> list[Box]:
        """Return the boxes of the connected strong regions, strongest first; [] if none is."""
        maps = self._network.feature_map(image, MAP_SIDE).cpu()
        energy = torch.linalg.vector_norm(maps, dim=0)
        least, greatest = float(energy.min()), float(energy.max())
        if not LEAST_PEAK <= greatest < math.inf or greatest == least:
            return []
        cells = MAP_SIDE // STRIDE * CELL_SPLIT
        fine = torch.nn.functional.interpolate(
            _strength(maps)[None, None],
            size=(cells, cells),
            mode="bilinear",
            align_corners=False,
        )
        return self._boxes(fine[0, 0].numpy(), image.size)

    def _boxes(self, strength: NDArray[np.float32], size: tuple[int, int]) -> list[Box]:
        regions = number_regions(strength > self._threshold)
        # Index 0 has the cells of no region.
        sums = np.bincount(regions.ravel(), weights=strength.ravel())[1:]
        boxes = []
        for index in np.argsort(-sums, kind="stable")[:MOST_BOXES]:
            if sums[index] < LEAST_SHARE * sums.max():
                break
            rows, columns = np.nonzero(regions == index + 1)
            left, right = _shrunk(columns, len(strength), size[0])
            top, bottom = _shrunk(rows, len(strength), size[1])
            boxes.append(Box(left, top, right, bottom))
        return boxes


def _strength(maps: torch.Tensor) -> torch.Tensor:
    """Return the strength of each cell of `maps`, shape (channels, rows, columns), from 0 to 1.

    It is the mean of two values: the energy of the cell (the norm of its numbers), and its
    projection on the first principal component of all cells, which separates objects from the
    background even if both are strong (Wei and others, "Unsupervised object discovery and
    co-localization by deep descriptor transforming", 2019, there over many pictures). The sign of
    the component is chosen so that it rises with the energy.
    """
    energy = torch.linalg.vector_norm(maps, dim=0)
    cells = maps.flatten(1).T
    centred = cells - cells.mean(0)
    # The eigenvector of the small Gram matrix is the projection itself, but for scale.
    projection = torch.linalg.eigh(centred @ centred.T).eigenvectors[:, -1].reshape(energy.shape)
    if (projection * (energy - energy.mean())).sum() < 0:
        projection = -projection
    return _stretched(_stretched(energy) + _stretched(projection))


def _stretched(values: torch.Tensor) -> torch.Tensor:
    """Scale `values` linearly to 0 to 1; return zeros if all are equal."""
    reach = values.max() - values.min()
    return (values - values.min()) / reach if reach > 0 else torch.zeros_like(values)


def number_regions(mask: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return the number of each cell's region, 0 for a cell that is not set.

    Regions are numbered from 1 on, in the order of their first cells, row by row. Two cells
    are of one region if a path of set cells joins them that goes up, down, left or right,
    never diagonally.
    """
    outside = mask.size
    # Each cell takes the least number of its neighbours, until all cells of a region have the
    # number of its first cell.
    numbers = np.where(mask, np.arange(mask.size).reshape(mask.shape), outside)
    while True:
        framed = np.pad(numbers, 1, constant_values=outside)
        neighbours = (framed[:-2, 1:-1], framed[2:, 1:-1], framed[1:-1, :-2], framed[1:-1, 2:])
        least = np.where(mask, np.minimum.reduce([numbers, *neighbours]), outside)
        # A number is the index of a cell of the same region, which may have a smaller one by now.
        least = np.append(least, outside)[least]
        if np.array_equal(least, numbers):
            break
        numbers = least
    firsts = np.unique(numbers[mask])
    return np.where(mask, np.searchsorted(firsts, numbers) + 1, 0)


def _shrunk(cells: NDArray[np.intp], count: int, side: int) -> tuple[int, int]:
    """Return the first and the last pixel, exclusive, of cells, without the spill.

    `count` cells span `side` pixels.
    """
    first, end = int(cells.min()), int(cells.max()) + 1
    spill = SPILL * (end - first)
    start = math.floor((first + spill) * side / count)
    stop = math.ceil((end - spill) * side / count)
    return max(start, 0), min(stop, side)
