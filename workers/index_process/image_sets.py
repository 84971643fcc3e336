"""The set to which an image belongs, by its row."""

from __future__ import annotations

from collections.abc import Iterable

from catalog.rows.images import ImageRow
from indexer.key import SetKey


def belongs(image: ImageRow | None, key: SetKey) -> bool:
    """Return whether an image may be in a set; False if it has no row."""
    # An open image may be in its set already: the stage adds it first and writes its row then.
    return (
        image is not None
        and (image.is_findable or image.is_open)
        and SetKey(image.generation, image.category) == key
    )


def named(key: SetKey) -> dict[str, str]:
    """Return the fields that name a set in a log line."""
    return {"generation": key.generation, "category": key.category}


def by_set(images: Iterable[ImageRow]) -> dict[SetKey, list[int]]:
    """Return the labels of images by the sets that their rows name."""
    grouped: dict[SetKey, list[int]] = {}
    for image in images:
        grouped.setdefault(SetKey(image.generation, image.category), []).append(image.label)
    return grouped
