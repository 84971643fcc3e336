"""A collection that changes its model, and the work of its workers, done by hand.

The models are mean colours, so a test knows what must be found.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from catalog.rows.changes import Change
from catalog.rows.chunks import Chunk, Stage
from catalog.rows.collections import CollectionRow
from catalog.rows.models import ModelRow
from catalog.store import Catalog
from contract.errors import NoAvailableFeature
from vision.box import Box
from workers import fetch as fetch_stage
from workers import index as index_stage
from workers import vision as vision_stage
from workers.index_process.catalog_index import CatalogIndex
from workers.sweeps.model_changes import change_models

OLD = ModelRow("old", 3)
NEW = ModelRow("new", 4, parts=2)

Take = Callable[..., Any]


class Colour:
    """A model whose feature is the mean colour, with zeros up to its dimensions.

    Each further part is the same, with a one at the end.
    """

    def __init__(self, row: ModelRow) -> None:
        self.model_id = row.model_id
        self._row = row

    def describe(self, image: Image.Image) -> tuple[Box, NDArray[np.float32]]:
        """Return the mean colour as features; the new model refuses blue pictures."""
        mean = np.asarray(image, np.float32).mean(axis=(0, 1))
        if self.model_id == NEW.model_id and mean[2] > 250:
            raise NoAvailableFeature("the new model is blind to blue")
        values = np.zeros((self._row.parts, self._row.dimensions), np.float32)
        values[:, :3] = mean / np.linalg.norm(mean)
        values[1:, -1] = 1.0
        return Box(0, 0, *image.size), values / np.linalg.norm(values, axis=1, keepdims=True)


def pipeline(model_id: str = OLD.model_id) -> Colour:
    return Colour({OLD.model_id: OLD, NEW.model_id: NEW}[model_id])


def picture(number: int, *, blue: bool = False) -> bytes:
    data = io.BytesIO()
    colour = (number, 1, 255) if blue else (255 - 20 * number, 20 * number, 0)
    Image.new("RGB", (220, 220), colour).save(data, "PNG")
    return data.getvalue()


class Work:
    """What the workers do, by hand: every chunk that is sent, one stage at a time."""

    def __init__(self, catalog: Catalog, shards: CatalogIndex) -> None:
        self.catalog = catalog
        self.shards = shards

    def stages(self, chunk: Chunk) -> Chunk | None:
        """Take a chunk one stage further; return it as it is then."""
        stage: Any = {
            Stage.FETCH: fetch_stage.fetch,
            Stage.VISION: vision_stage.vision,
            Stage.INDEX: index_stage.index,
        }[chunk.stage]
        stage(chunk.id, chunk.attempt)
        return next(iter(self.catalog.chunks.find([chunk.id])), None)

    def finish(self, *chunks: Chunk) -> None:
        """Take chunks through all stages that they still need."""
        for chunk in chunks:
            for _ in range(8):
                found = next(iter(self.catalog.chunks.find([chunk.id])), None)
                if found is None or found.state == "done":
                    break
                self.stages(found)

    def anew(self, collection: CollectionRow) -> list[Chunk]:
        """Return the chunks that embed the images of a collection anew."""
        return self.catalog.chunks.of_change(collection.generation, 100)

    def change(self, collection: CollectionRow) -> Change | None:
        return self.catalog.changes.find(collection.key, collection.generation)

    def begin(self, collection: CollectionRow, *, accept_losses: bool = False) -> None:
        assert self.catalog.changes.begin(
            collection.key, OLD.model_id, NEW.model_id, accept_losses=accept_losses
        )

    def sweep(self, collection: CollectionRow) -> None:
        """Sweep once, and let the workers do what that sent."""
        change_models()
        while chunks := self.anew(collection):
            self.finish(*chunks)
        self.shards.restore()
        index_stage.switch(collection.key, collection.generation)
        index_stage.retire(collection.key, collection.generation)

    def complete(self, collection: CollectionRow) -> None:
        """Sweep until the change of the model is over."""
        for _ in range(20):
            self.sweep(collection)
            if self.change(collection) is None:
                return
            self.make_due()
        raise AssertionError(self.change(collection))

    def make_due(self) -> None:
        """Let every change be due now."""
        self.catalog.client["snapsku_integration"]["collections"].update_many(
            {"change_at": {"$gt": 0}}, {"$set": {"change_at": 0}}
        )

    def model_of(self, collection: CollectionRow) -> str | None:
        row = self.catalog.collections.of_generation(collection.key, collection.generation)
        assert row is not None
        return row.model_id

    def found(self, collection: CollectionRow, number: int, model: ModelRow) -> list[int]:
        """Return the labels that a search with this picture finds under a model."""
        self.shards.restore()
        query = Colour(model).describe(Image.open(io.BytesIO(picture(number))))[1]
        near = self.shards.search(collection.generation, None, query, 100, model.model_id)
        return [int(label) for label in near.labels]


def taken(take: Take, work: Work, *numbers: int, finish: bool = True) -> Any:
    """Take one image in for each number, in a task of its own."""
    tasks = [take(f"image-{number}", payload=picture(number)) for number in numbers]
    if finish:
        work.finish(*(chunk for task in tasks for chunk in task.chunks))
    return tasks


def labels_of(tasks: list[Any]) -> list[int]:
    return [label for task in tasks for label in task.labels]
