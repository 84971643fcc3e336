"""Finding images by the ids that clients know."""

from __future__ import annotations

from collections.abc import Collection

from catalog.rows.claims import name_key
from catalog.store import Catalog


def labels_of(
    catalog: Catalog, generation: str, names: Collection[tuple[str, str]]
) -> dict[tuple[str, str], int]:
    """Return the label of each (product_id, image_id); missing and deleted ones are left out.

    An image that failed or is pending is there as long as it holds its name.
    """
    keys = {name: name_key(generation, name[1]) for name in names}
    holders = catalog.names.holders(list(set(keys.values())))
    images = catalog.images.find(list(holders.values()))
    found = {name: images.get(holders.get(key, 0)) for name, key in keys.items()}
    return {
        name: image.label
        for name, image in found.items()
        if image is not None and image.product_id == name[0] and image.deleted_at is None
    }
