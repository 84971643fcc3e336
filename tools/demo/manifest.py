"""The manifest of the samples, as dataclasses."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

SAMPLES = Path(__file__).resolve().parents[2] / "samples"


@dataclass(frozen=True)
class SampleImage:
    """A picture of a product."""

    product_id: str
    product_name: str
    category: str
    image_id: str
    image_info: str
    path: Path


@dataclass(frozen=True)
class Manifest:
    """All sample pictures, and the cut-outs by product_id."""

    images: tuple[SampleImage, ...]
    cutouts: dict[str, Path]

    def products(self) -> list[dict[str, str]]:
        """Return the product_list for create_product: each product once, in order."""
        rows = {
            image.product_id: {
                "product_id": image.product_id,
                "product_name": image.product_name,
                "category": image.category,
            }
            for image in self.images
        }
        return list(rows.values())

    def first_images(self) -> dict[str, SampleImage]:
        """Return the first picture of each product, by product_id."""
        rows: dict[str, SampleImage] = {}
        for image in self.images:
            rows.setdefault(image.product_id, image)
        return rows


def load(folder: Path = SAMPLES) -> Manifest:
    """Return the manifest in `folder`/manifest.json; paths in it are relative to `folder`.

    Raises OSError if it can't be read, and KeyError if it is not as samples/compose.py writes it.
    """
    described = json.loads((folder / "manifest.json").read_text("utf-8"))
    images = tuple(
        SampleImage(
            product_id=row["product_id"],
            product_name=row["product_name"],
            category=row["category"],
            image_id=row["image_id"],
            image_info=row["image_info"],
            path=folder / row["file"],
        )
        for row in described["images"]
    )
    cutouts = {row["product_id"]: folder / row["file"] for row in described["cutouts"]}
    return Manifest(images=images, cutouts=cutouts)
