"""Models for searches that are not about features, and pictures and images to search with."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image

from catalog.store import Catalog
from vision.box import Box
from vision.similarity import QueryParts


class AnyFeature:
    """A model that sees the same in every picture."""

    model_id = "any"
    has_whole = False

    def __init__(self, model_id: str | None = None) -> None:
        assert model_id in (None, self.model_id)

    def describe_query(self, image: Image.Image, count: int, box: Box | None) -> Any:
        return [box or Box(0, 0, *image.size)], QueryParts(np.ones((1, 3), np.float32), None)


class TwoParts(AnyFeature):
    """A model that sees a box and the whole picture, and whose images have as many vectors."""

    has_whole = True

    def describe_query(self, image: Image.Image, count: int, box: Box | None) -> Any:
        boxes, _ = super().describe_query(image, count, box)
        return boxes, QueryParts(np.eye(3, dtype=np.float32)[:2], whole=1)


def picture() -> bytes:
    return png(Image.new("RGB", (220, 230), "red"))


def png(image: Image.Image) -> bytes:
    data = io.BytesIO()
    image.save(data, "PNG")
    return data.getvalue()


def succeed(catalog: Catalog, taken: Any) -> list[int]:
    """Let all images of a task have succeeded; return their labels."""
    labels: list[int] = taken.labels
    catalog.images.succeed(labels)
    return labels
