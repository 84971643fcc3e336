"""Vectors in the catalogue that no index can take: skipped, and reported by image."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping

import structlog

from catalog.rows.images import ImageRow
from catalog.rows.models import ModelRow
from catalog.store import Catalog
from indexer.vectors import Vector, faults_of

log = structlog.get_logger(__name__)


class BadVectors:
    """The bad vectors that this process met, until their images are gone. Thread-safe."""

    def __init__(self, catalog: Callable[[], Catalog]) -> None:
        self._catalog = catalog
        self._changing = threading.Lock()
        # By label and model: the name of the image. Replaced as a whole.
        self._met: dict[tuple[int, str], str] = {}

    def sift(self, model: ModelRow, stored: Mapping[int, Vector]) -> dict[int, Vector]:
        """Return the vectors that the model's index can take, by label; log new bad ones.

        An image with one bad part is left out with all of its vectors.
        """
        faults = faults_of(stored, model.dimensions, model.parts)
        new = [label for label in faults if (label, model.model_id) not in self._met]
        self._forget((label, model.model_id) for label in stored.keys() - faults.keys())
        if new:
            rows = self._catalog().images.find(new)
            for label in new:
                self._note(label, model.model_id, rows.get(label), faults[label])
        return {label: vector for label, vector in stored.items() if label not in faults}

    def among(self, labels: Iterable[int], model_id: str) -> set[int]:
        """Return those among `labels` whose vector of that model is bad."""
        return {label for label in labels if (label, model_id) in self._met}

    def forget(self, labels: Iterable[int]) -> None:
        """Forget the bad vectors of images that are gone."""
        if self._met:
            gone = set(labels)
            self._forget(pair for pair in self._met if pair[0] in gone)

    @property
    def images(self) -> list[str]:
        """The images with bad vectors, sorted, each as collection/image id.

        One without a row is named by its label.
        """
        return sorted(set(self._met.values()))

    def _note(self, label: int, model_id: str, row: ImageRow | None, fault: str) -> None:
        name = f"label {label}" if row is None else f"{row.collection}/{row.image_id}"
        log.error(
            "a vector can't be searched, image skipped",
            image=name,
            label=label,
            model=model_id,
            fault=fault,
        )
        with self._changing:
            self._met = {**self._met, (label, model_id): name}

    def _forget(self, pairs: Iterable[tuple[int, str]]) -> None:
        if not self._met:
            return
        gone = set(pairs) & self._met.keys()
        if gone:
            with self._changing:
                self._met = {pair: name for pair, name in self._met.items() if pair not in gone}
