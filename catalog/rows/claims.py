"""Claims: what only one image may have, its name in a collection and its bytes in a product.

A claim is a row whose `_id` is the claimed key and whose label is the holder, so that the
database itself decides between two images that claim a key at once.

Only `catalog.flows.claiming` takes claims, since it also takes those that a dead image still holds.
A claim never expires: code that removes the row of an image must release what its label holds
(`catalog.flows.removal`), or the name stays taken.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from catalog.database.connection import Rows, find_by_id, insert_new


def name_key(generation: str, image_id: str) -> str:
    """Return the key of the claim on an image_id in a collection."""
    return f"{generation}/{image_id}"


def content_key(product_serial: int, sha256: str) -> str:
    """Return the key of the claim on the bytes of a file in a product."""
    return f"{product_serial}/{sha256}"


#: Labels further apart than this are read by separate queries.
_GAP = 16

#: Keys released in one write. The embedded server compares each with all labels of the write:
#: 500 at once take 93 ms, by their keys alone 4 ms.
_AT_ONCE = 50


def _ranges(labels: Sequence[int]) -> list[tuple[int, int]]:
    """Return the first and the last label of each run of sorted labels without a wider gap."""
    ranges: list[tuple[int, int]] = []
    for label in labels:
        if ranges and label - ranges[-1][1] <= _GAP:
            ranges[-1] = (ranges[-1][0], label)
        else:
            ranges.append((label, label))
    return ranges


class Claims:
    """The claims of one kind, on names or on bytes."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def holders(self, keys: Sequence[str]) -> dict[str, int]:
        """Return the label that holds each key; keys that are free are left out."""
        return {key: row["label"] for key, row in find_by_id(self._rows, keys).items()}

    def take(self, wanted: Mapping[str, int]) -> set[str]:
        """Claim each key for its label, and return the keys that another label holds.

        A label that claims a key a second time keeps it.
        """
        lost: set[str] = set()
        keys = list(wanted)
        while keys:
            taken = insert_new(self._rows, [{"_id": key, "label": wanted[key]} for key in keys])
            unclear = [keys[position] for position in sorted(taken)]
            holders = self.holders(unclear)
            lost |= {key for key, holder in holders.items() if holder != wanted[key]}
            # Released between the two calls, so claim these again.
            keys = [key for key in unclear if key not in holders]
        return lost

    def release(self, held: Mapping[str, int]) -> None:
        """Release each key that its label holds; other keys stay."""
        self.release_each(list(held.items()))

    def release_each(self, claims: Sequence[tuple[str, int]]) -> None:
        """Release each key that its label holds; a key may be given with several labels."""
        for start in range(0, len(claims), _AT_ONCE):
            keys, labels = zip(*claims[start : start + _AT_ONCE], strict=True)
            # The filter has the holder too: another label may hold the key by now.
            self._rows.delete_many({"_id": {"$in": keys}, "label": {"$in": labels}})

    def release_all(self, labels: Iterable[int]) -> None:
        """Release all keys that these labels hold."""
        known = set(labels)
        # By ranges: the embedded server does not answer `$in` from an index like this.
        self.release(
            {
                row["_id"]: row["label"]
                for first, last in _ranges(sorted(known))
                for row in self._rows.find({"label": {"$gte": first, "$lte": last}})
                if row["label"] in known
            }
        )
