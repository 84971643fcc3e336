"""The ranks of the right images of a set, by a search design."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from typing import TYPE_CHECKING

import numpy as np

from tools.benchmarks.measures import intersection_over_union, relevant_ranks
from tools.benchmarks.retrieval.designs import Gallery, SearchDesign, Verification

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tools.benchmarks.retrieval.features import Described
    from tools.benchmarks.retrieval.pictures import Picture, Search, SearchSet
    from vision.box import Box

#: The inliers of a query, or of a box of it, and an image.
Inliers = Callable[["Picture", "Box | None", "Picture"], int]


def no_inliers(_: Picture, __: Box | None, ___: Picture) -> int:
    """Return 0 for every pair."""
    return 0


class Ranking:
    """The searches of a set with the features of all pictures, for any design."""

    def __init__(
        self,
        chosen: SearchSet,
        queries: Sequence[Described],
        gallery: Sequence[Described],
        inliers: Inliers = no_inliers,
    ) -> None:
        """Take a set, the features of its searches and of its gallery, and a count of inliers."""
        self.chosen = chosen
        self.queries = queries
        self._images = gallery
        self._inliers = inliers
        self._grounds = np.array(chosen.grounds)
        self._gallery = lru_cache(maxsize=None)(partial(Gallery, gallery))
        # Designs that differ in the verification alone follow each other.
        self._scores = lru_cache(maxsize=1)(self._scores_of)

    def ranks(self, design: SearchDesign, half: int | None = None) -> list[int]:
        """Return the rank of the right image of each search, from 1, or of those of one half.

        Of equal similarities the right image has the last rank. A search whose product none of the
        boxes touches has the rank after all images.
        """
        scores = self._scores(replace(design, verification=None))
        return [
            self._rank(search, query, own, design.verification)
            for search, query, own in zip(self.chosen.searches, self.queries, scores, strict=True)
            if half is None or search.half == half
        ]

    def _scores_of(self, design: SearchDesign) -> list[NDArray[np.float32] | None]:
        """Return the similarities of all images with each query, None for one without its box."""
        rows: list[NDArray[np.float32] | None] = []
        for search, query in zip(self.chosen.searches, self.queries, strict=True):
            if search.shown is None:
                features = design.query.of(query)
            else:
                features = _of_box(query, search.shown)
            if not len(features):
                rows.append(None)
                continue
            gallery = self._gallery(design.gallery)
            scores = gallery.similarities(features, design.discount, design.agreement)
            if len(self._grounds) and search.ground:
                scores[self._grounds == search.ground] = -np.inf
            rows.append(scores)
        return rows

    def _rank(
        self,
        search: Search,
        query: Described,
        scores: NDArray[np.float32] | None,
        verification: Verification | None,
    ) -> int:
        if scores is None:
            return len(self._images) + 1
        if verification:
            box = query.boxes[0] if verification.in_box else None
            if search.shown is not None:
                box = query.boxes[_place(query, search.shown)]
            scores = scores.copy()
            self._verify(scores, search.picture, box, verification)
        return relevant_ranks(scores, [search.right])[0]

    def _verify(
        self,
        scores: NDArray[np.float32],
        query: Picture,
        box: Box | None,
        verification: Verification,
    ) -> None:
        """Raise the scores of the first images, each by its own inliers."""
        for place in _first(scores, verification.first):
            inliers = self._inliers(query, box, self.chosen.gallery[place])
            scores[place] = verification.score(float(scores[place]), inliers)


def _first(scores: NDArray[np.float32], count: int) -> Iterator[int]:
    order = np.argsort(-scores, kind="stable")[:count]
    return (int(place) for place in order if np.isfinite(scores[place]))


def _of_box(query: Described, shown: int) -> NDArray[np.float32]:
    """Return the feature of the box of a product, shape (1, dimensions); (0, ...) without one."""
    place = _place(query, shown)
    touches = intersection_over_union(query.boxes[place], query.truths[shown]) > 0
    return query.features[place : place + touches]


def _place(query: Described, shown: int) -> int:
    """Return the position of the box that overlaps a true box most."""
    truth = query.truths[shown]
    return int(np.argmax([intersection_over_union(box, truth) for box in query.boxes]))
