"""Taking names and bytes for images, of which a dead image keeps none from another.

An image releases its claims after its end was written. Until then, or until the sweep where
its process died in between, its claims are those of an image that is there no more.
"""

from __future__ import annotations

from collections.abc import Mapping

from catalog.flows.removal import release_images
from catalog.rows.claims import Claims
from catalog.store import Catalog


def take_names(catalog: Catalog, wanted: Mapping[str, int]) -> set[str]:
    """Claim each name for its label; return the names that another image has.

    One whose holder has no row is another's: a submission takes names before it writes rows.
    """
    return _take(catalog, catalog.names, wanted, needs_row=False)


def take_contents(catalog: Catalog, wanted: Mapping[str, int]) -> set[str]:
    """Claim the bytes of each key for its label; return the keys that another image has.

    An image may end while it claims: look afterwards whether it did, with `clear_ended`.
    """
    return _take(catalog, catalog.contents, wanted, needs_row=True)


def _take(
    catalog: Catalog, claims: Claims, wanted: Mapping[str, int], *, needs_row: bool
) -> set[str]:
    lost = claims.take(wanted)
    while lost:
        holders = claims.holders(list(lost))
        images = catalog.images.find(list(set(holders.values())))
        dead = {
            key: label
            for key, label in holders.items()
            if (images[label].is_dead if label in images else needs_row)
        }
        free = dead.keys() | (lost - holders.keys())
        if not free:
            break
        # Its place in the product as well, which counts against the limit of the next image.
        release_images(catalog, list(dead.values()))
        claims.release(dead)
        lost = (lost - free) | claims.take({key: wanted[key] for key in free})
    return lost
