"""Claiming names and bytes for images, also those that a dead image still holds.

An image releases its claims after its outcome or deletion was written, or in the sweep if the
process died in between. Until then, a dead image holds claims, which are released here.
"""

from __future__ import annotations

from collections.abc import Mapping

from catalog.flows.removal import release_images
from catalog.rows.claims import Claims
from catalog.store import Catalog


def take_names(catalog: Catalog, wanted: Mapping[str, int]) -> set[str]:
    """Claim each name for its label; return the names that another image holds.

    A holder without a row counts, since a submission claims names before it writes rows.
    """
    return _take(catalog, catalog.names, wanted, needs_row=False)


def take_contents(catalog: Catalog, wanted: Mapping[str, int]) -> set[str]:
    """Claim the bytes of each key for its label; return the keys that another image holds.

    An image may end during the call: afterwards, release its claims with `clear_ended`.
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
        # This frees their slots in the product, too, which count against its limit.
        release_images(catalog, list(dead.values()))
        claims.release(dead)
        lost = (lost - free) | claims.take({key: wanted[key] for key in free})
    return lost
