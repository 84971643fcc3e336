"""Whether two pictures show the same object: how many local features agree in their places.

Each pair of features that look alike says how the one picture would lie on the other: moved,
scaled and turned. The pair on which most others agree is chosen; since every pair is tried, the
result involves no chance, unlike with RANSAC. A fit with shear, which a view from the side needs,
is made of those that agree.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from vision.geometry.local_features import SIDE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vision.geometry.local_features import LocalFeatures

#: A feature agrees if it lies this close to its place in the query, in pixels.
TOLERANCE = 0.03 * SIDE
#: A pair counts if its distance is under this share of the distance to the second best.
RATIO = 0.8
#: Fewer agree by chance, so they are none.
LEAST_INLIERS = 3
#: The most by which one picture may be larger than the other, and longer in one direction.
MOST_SCALE, MOST_STRETCH = 8.0, 3.0
#: Pairs that agree scale within this factor of each other, and turn within this angle in radians.
SCALES_ALIKE, ANGLES_ALIKE = 2.0, np.pi / 4


def inliers(query: LocalFeatures, candidate: LocalFeatures) -> NDArray[np.float32]:
    """Return the points of the query whose features agree with another picture, (n, 2) in pixels.

    None if they are few. Points that several pairs share count once. The same two pictures always
    have the same ones.
    """
    first, second = _alike(query, candidate)
    if len(first) < LEAST_INLIERS:
        return query.points[:0]
    target, source = _complex(query.points[first]), _complex(candidate.points[second])
    scale = query.sizes[first] / candidate.sizes[second]
    turn = query.angles[first] - candidate.angles[second]
    agree = _agreeing(source, target, scale, turn)
    chosen = _distinct(source, target, agree)
    if len(chosen) < LEAST_INLIERS:
        return query.points[:0]
    refined = _distinct(source, target, _refined(source, target, agree))
    agreeing: NDArray[np.float32] = query.points[first[max(chosen, refined, key=len)]]
    return agreeing


def _alike(
    query: LocalFeatures, candidate: LocalFeatures
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return positions of features that are each other's nearest, far nearer than the second."""
    if len(query) < 2 or len(candidate) < 2:
        return np.empty(0, np.intp), np.empty(0, np.intp)
    cosines = query.directions @ candidate.directions.T
    rows = np.arange(len(query))
    nearest = cosines.argmax(axis=1)
    best = cosines[rows, nearest]
    is_mutual = cosines.argmax(axis=0)[nearest] == rows
    cosines[rows, nearest] = -1
    # Squares of distances of unit vectors.
    is_clear = (1 - best) < RATIO**2 * (1 - cosines.max(axis=1))
    chosen = rows[is_mutual & is_clear]
    return chosen, nearest[chosen]


def _complex(points: NDArray[np.float32]) -> NDArray[np.complex64]:
    return np.ascontiguousarray(points).view(np.complex64)[:, 0]


def _agreeing(
    source: NDArray[np.complex64],
    target: NDArray[np.complex64],
    scale: NDArray[np.float32],
    turn: NDArray[np.float32],
) -> NDArray[np.bool_]:
    """Return which pairs agree with the pair on which most do."""
    move = scale * np.exp(1j * turn)
    errors = np.abs(move[:, None] * (source - source[:, None]) + target[:, None] - target)
    logarithms = np.log(scale)
    agree = errors < TOLERANCE
    agree &= np.abs(logarithms[:, None] - logarithms) < np.log(SCALES_ALIKE)
    agree &= np.cos(turn[:, None] - turn) > np.cos(ANGLES_ALIKE)
    agree &= (np.abs(logarithms) < np.log(MOST_SCALE))[:, None]
    chosen: NDArray[np.bool_] = agree[agree.sum(axis=1).argmax()]
    return chosen


def _refined(
    source: NDArray[np.complex64], target: NDArray[np.complex64], agree: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Return which pairs agree with the affine map of those in `agree`, none if it is absurd."""
    places = np.stack([source.real, source.imag, np.ones(len(source), np.float32)], axis=1)
    aims = np.stack([target.real, target.imag], axis=1)
    fit = np.linalg.lstsq(places[agree], aims[agree], rcond=None)[0]
    stretches = np.linalg.svd(fit[:2], compute_uv=False)
    is_sound = bool(
        np.linalg.det(fit[:2]) > 0
        and stretches[1] > 1 / MOST_SCALE
        and stretches[0] < min(MOST_SCALE, MOST_STRETCH * stretches[1])
    )
    errors = np.linalg.norm(places @ fit - aims, axis=1)
    close: NDArray[np.bool_] = (errors < TOLERANCE) & is_sound
    return close


def _distinct(
    source: NDArray[np.complex64], target: NDArray[np.complex64], agree: NDArray[np.bool_]
) -> NDArray[np.intp]:
    """Return the positions of pairs that agree, of those at a pixel of one picture one alone."""
    places = np.flatnonzero(agree)
    for points in (source, target):
        places = places[np.unique(np.rint(points[places]), return_index=True)[1]]
    return places
