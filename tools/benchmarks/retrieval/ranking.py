"""The ranks of the right images of a set, by a search design."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, partial
from typing import TYPE_CHECKING

import numpy as np

from tools.benchmarks.measures import intersection_over_union, relevant_ranks
from tools.benchmarks.retrieval.designs import Gallery, SearchDesign

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tools.benchmarks.retrieval.features import Described
    from tools.benchmarks.retrieval.pictures import Search, SearchSet


class Ranking:
    """The searches of a set with the features of all pictures, for any design."""

    def __init__(
        self,
        chosen: SearchSet,
        queries: Sequence[Described],
        gallery: Sequence[Described],
    ) -> None:
        """Take a set, the features of its searches and of its gallery."""
        self.chosen = chosen
        self.queries = queries
        self._images = gallery
        self._grounds = np.array(chosen.grounds)
        self._gallery = lru_cache(maxsize=None)(partial(Gallery, gallery))

    def ranks(self, design: SearchDesign, half: int | None = None) -> list[int]:
        """Return the rank of the right image of each search, from 1, or of those of one half.

        Of equal similarities the right image has the last rank. A search whose product none of the
        boxes touches has the rank after all images.
        """
        return [
            self._rank(search, query, design)
            for search, query in zip(self.chosen.searches, self.queries, strict=True)
            if half is None or search.half == half
        ]

    def _rank(self, search: Search, query: Described, design: SearchDesign) -> int:
        features = design.query.of(query) if search.shown is None else _of_box(query, search.shown)
        if not len(features):
            return len(self._images) + 1
        gallery = self._gallery(design.gallery)
        scores = gallery.similarities(features, design.discount, design.agreement)
        if len(self._grounds) and search.ground:
            scores[self._grounds == search.ground] = -np.inf
        return relevant_ranks(scores, [search.right])[0]


def _of_box(query: Described, shown: int) -> NDArray[np.float32]:
    """Return the feature of the box of a product, shape (1, dimensions); (0, ...) without one."""
    place = _place(query, shown)
    touches = intersection_over_union(query.boxes[place], query.truths[shown]) > 0
    return query.features[place : place + touches]


def _place(query: Described, shown: int) -> int:
    """Return the position of the box that overlaps a true box most."""
    truth = query.truths[shown]
    return int(np.argmax([intersection_over_union(box, truth) for box in query.boxes]))
