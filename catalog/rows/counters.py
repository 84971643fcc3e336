"""When the counters of a collection are compared with its rows, and what was seen then.

Counters are raised before products and images are written, and lowered after they are removed.
So they are too high while a change is under way, never too low, and stay too high if a process
dies in between. Some time after the last change nothing is under way, and a count is exact. If
changes never pause, several counts are compared: what is under way differs between them, what a
dead process left does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from catalog.database.connection import Row, Rows, moment_or_none, now, stamp

#: A recount waits for a pause in the changes for at most so many times `recount`.
LATEST = 5

#: Counts of a collection that keeps changing before its counters are corrected.
LOOKS = 3

#: The fields that a change adds and an exact count removes.
_FIELDS = ("recount_at", "changed_at", "uncounted_since", "excess", "looks")


def change_of_counters(recount: timedelta) -> Row:
    """Return the operators that an update of a collection's counters adds, for their recount."""
    changed_at = now()
    return {
        "$set": {"changed_at": stamp(changed_at)},
        "$min": {
            "recount_at": stamp(changed_at + recount),
            "uncounted_since": stamp(changed_at),
        },
    }


def without_recount(row: Row) -> Row:
    """Return a collection's row without the fields of a pending recount."""
    return {name: value for name, value in row.items() if name not in _FIELDS}


@dataclass(frozen=True, kw_only=True)
class Counted:
    """The counters of a collection as its row says, with the state of their recount."""

    key: str
    generation: str
    products: int
    images: int
    changes: int
    changed_at: datetime | None
    uncounted_since: datetime | None
    excess: tuple[int, int] | None  #: the least excess of products and images seen since then
    looks: int  #: counts made while changes went on

    @classmethod
    def from_row(cls, row: Row) -> Counted:
        """Return the counters of a collection's row."""
        excess = row.get("excess")
        return cls(
            key=row["_id"],
            generation=row["generation"],
            products=row["product_count"],
            images=row["image_count"],
            changes=row["changes"],
            changed_at=moment_or_none(row.get("changed_at")),
            uncounted_since=moment_or_none(row.get("uncounted_since")),
            excess=None if excess is None else (excess[0], excess[1]),
            looks=row.get("looks", 0),
        )


class Counters:
    """The counters in the rows of collections."""

    def __init__(self, rows: Rows, recount: timedelta) -> None:
        """Take how long after its last change a collection is counted."""
        self._rows = rows
        self._recount = recount

    def due(self, limit: int) -> list[Counted]:
        """Return the counters of at most `limit` collections whose recount is due."""
        rows = self._rows.find({"recount_at": {"$lte": stamp(now())}}).limit(limit)
        return [Counted.from_row(row) for row in rows]

    def find(self, key: str, generation: str) -> Counted | None:
        """Return the counters of a collection, None if it is gone or of another generation."""
        row = self._rows.find_one({"_id": key})
        return None if row is None or row["generation"] != generation else Counted.from_row(row)

    def is_quiet(self, counted: Counted) -> bool:
        """Return whether the last change was at least `recount` ago, so nothing is under way."""
        return not _is_within(counted.changed_at, self._recount)

    def is_late(self, counted: Counted) -> bool:
        """Return whether changes have gone on too long to wait for a pause."""
        return not _is_within(counted.uncounted_since, LATEST * self._recount)

    def await_quiet(self, counted: Counted) -> None:
        """Make the recount of a collection due when it may be quiet."""
        self._rows.update_one(
            {"_id": counted.key, "generation": counted.generation, "changes": counted.changes},
            {"$set": {"recount_at": self._quiet_at(counted)}},
        )

    def settle(self, counted: Counted, products: int, images: int) -> bool:
        """Write the exact counts of a collection, made after its counters were read.

        Return False, with nothing written, if the collection has changed meanwhile.
        """
        written = self._rows.update_one(
            {"_id": counted.key, "generation": counted.generation, "changes": counted.changes},
            {
                "$set": {"product_count": products, "image_count": images},
                "$unset": dict.fromkeys(_FIELDS, 1),
            },
        )
        return written.matched_count == 1

    def note_excess(self, counted: Counted, excess: tuple[int, int]) -> tuple[int, int] | None:
        """Note by how much products and images were counted too high while changes went on.

        After LOOKS such notes, or once the least excess is zero, subtract the least that was
        seen from the counters. Return what was subtracted; None if another count is needed, or
        if another process was first.
        """
        least = counted.excess or excess
        least = (min(least[0], excess[0]), min(least[1], excess[1]))
        looks = counted.looks + 1
        update: Row
        if looks < LOOKS and any(least):
            update = {"$set": {"excess": list(least), "looks": looks}}
        else:
            update = {
                "$inc": {"product_count": -least[0], "image_count": -least[1]},
                "$set": {
                    "uncounted_since": stamp(now()),
                    "recount_at": self._quiet_at(counted),
                    "looks": 0,
                },
                "$unset": {"excess": 1},
            }
        seen: Row = {"_id": counted.key, "generation": counted.generation}
        if counted.uncounted_since is not None:
            seen["uncounted_since"] = stamp(counted.uncounted_since)
        if counted.looks:
            seen["looks"] = counted.looks
        written = self._rows.update_one(seen, update)
        return least if "$inc" in update and written.matched_count else None

    def _quiet_at(self, counted: Counted) -> int:
        return stamp((counted.changed_at or now()) + self._recount)


def _is_within(moment: datetime | None, time: timedelta) -> bool:
    """Return whether a moment is less than that time ago; False for None.

    A moment in the future was written before the clock was set back, and counts as long ago.
    """
    return moment is not None and timedelta(0) <= now() - moment < time
