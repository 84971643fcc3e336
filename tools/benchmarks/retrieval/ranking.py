"""The ranks of the right images of a set, by a search design."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from typing import TYPE_CHECKING

import numpy as np

from tools.benchmarks.measures import intersection_over_union, relevant_ranks
from tools.benchmarks.retrieval.designs import Gallery, SearchDesign, parts_of
from vision.similarity import SERVICE, QueryParts, counted, raised
from workers.support.ranking import CANDIDATES, NEIGHBOURS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tools.benchmarks.retrieval.features import Described
    from tools.benchmarks.retrieval.pictures import Picture, Search, SearchSet
    from vision.box import Box

#: The inliers of a query and an image, in the best box of the query and elsewhere. If the last is
#: true, the box alone is the query.
Inliers = Callable[["Picture", "Box", "Picture", bool], tuple[int, int]]


class Ranking:
    """The searches of a set with the features of all pictures, for any design."""

    def __init__(
        self,
        chosen: SearchSet,
        queries: Sequence[Described],
        gallery: Sequence[Described],
        inliers: Inliers,
    ) -> None:
        """Take a set, the features of its searches and of its gallery, and what counts inliers."""
        self.chosen = chosen
        self.queries = queries
        self._images = gallery
        self._inliers = inliers
        self._grounds = np.array(chosen.grounds)
        self._gallery = lru_cache(maxsize=None)(partial(Gallery, gallery))
        # Designs that differ in the geometry alone follow each other.
        self._scores = lru_cache(maxsize=1)(self._scores_of)

    def ranks(self, design: SearchDesign, half: int | None = None) -> list[int]:
        """Return the rank of the right image of each search, from 1, or of those of one half.

        Of equal similarities the right image has the last rank. A search whose product none of the
        boxes touches has the rank after all images.
        """
        scores = self._scores(replace(design, geometry=False))
        return [
            self._rank(search, query, own, design)
            for search, query, own in zip(self.chosen.searches, self.queries, scores, strict=True)
            if half is None or search.half == half
        ]

    def _scores_of(self, design: SearchDesign) -> list[NDArray[np.float32] | None]:
        """Return the similarities of all images with each query, None for one without its box."""
        rows: list[NDArray[np.float32] | None] = []
        for search, query in zip(self.chosen.searches, self.queries, strict=True):
            if search.shown is None:
                parts = parts_of(design.query, query)
            else:
                parts = QueryParts(_of_box(query, search.shown), None)
            if not len(parts.features):
                rows.append(None)
                continue
            gallery = self._gallery(design.gallery)
            scores = gallery.scores(parts, design.weights)
            if design.weights is not None:
                # Of the images behind those that an index returns, the service sees none.
                cosines = gallery.scores(parts)
                if len(self._grounds) and search.ground:
                    cosines[self._grounds == search.ground] = -np.inf
                scores[np.argsort(-cosines, kind="stable")[NEIGHBOURS:]] = -np.inf
            if len(self._grounds) and search.ground:
                scores[self._grounds == search.ground] = -np.inf
            rows.append(scores)
        return rows

    def _rank(
        self,
        search: Search,
        query: Described,
        scores: NDArray[np.float32] | None,
        design: SearchDesign,
    ) -> int:
        if scores is None:
            return len(self._images) + 1
        if design.geometry:
            scores = scores.copy()
            self._verify(scores, search, query, design)
        return relevant_ranks(scores, [search.right])[0]

    def _verify(
        self,
        scores: NDArray[np.float32],
        search: Search,
        query: Described,
        design: SearchDesign,
    ) -> None:
        """Raise the scores of the first images, each by its own inliers."""
        weights = design.weights or SERVICE
        is_given = search.shown is not None
        box = query.boxes[_place(query, search.shown) if search.shown is not None else 0]
        for place in _first(scores, CANDIDATES):
            image = self.chosen.gallery[place]
            count = counted(*self._inliers(search.picture, box, image, is_given), weights)
            scores[place] = raised(float(scores[place]), count, weights)


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
