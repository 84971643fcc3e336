"""When the counters of a collection are compared with what is there, and what was seen then.

Products and images are counted before they are written, and counted off after they are gone.
So the counters say too much while something is under way, never too little, and go on doing so
where a process dies in between. A while after the last change nothing is under way, and a count
is exact. Where changes never end, several counts are compared instead: what is under way differs
between them, what a dead process left does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from catalog.database.connection import Row, Rows, moment_or_none, now, stamp

#: Changes that go on are not waited for beyond so many times the pause after a change.
LATEST = 5

#: Counts of a collection that changes meanwhile, before its counters are corrected.
LOOKS = 3

#: Of the last change, and of the first one since a count; absent where nothing has changed.
_FIELDS = ("recount_at", "changed_at", "uncounted_since", "excess", "looks")


def change_of_counters(recount: timedelta) -> Row:
    """Return what an update of a collection adds to note that its counters may be wrong."""
    changed_at = now()
    return {
        "$set": {"changed_at": stamp(changed_at)},
        "$min": {
            "recount_at": stamp(changed_at + recount),
            "uncounted_since": stamp(changed_at),
        },
    }


def without_recount(row: Row) -> Row:
    """Return the row of a collection as one in which nothing has changed since it was counted."""
    return {name: value for name, value in row.items() if name not in _FIELDS}


@dataclass(frozen=True, kw_only=True)
class Counted:
    """The counters of a collection as its row says, and since when they may be wrong."""

    key: str
    generation: str
    products: int
    images: int
    changes: int
    changed_at: datetime | None
    uncounted_since: datetime | None
    excess: tuple[int, int] | None  #: the least that was seen too much since, of each counter
    looks: int

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
        """Let a collection be counted `recount` after its last change."""
        self._rows = rows
        self._recount = recount

    def due(self, limit: int) -> list[Counted]:
        """Return collections that are to be looked at now."""
        rows = self._rows.find({"recount_at": {"$lte": stamp(now())}}).limit(limit)
        return [Counted.from_row(row) for row in rows]

    def find(self, key: str, generation: str) -> Counted | None:
        """Return the counters of a collection, None if it is gone."""
        row = self._rows.find_one({"_id": key})
        return None if row is None or row["generation"] != generation else Counted.from_row(row)

    def is_quiet(self, counted: Counted) -> bool:
        """Return whether nothing has changed for so long that nothing is under way."""
        return not _is_within(counted.changed_at, self._recount)

    def is_late(self, counted: Counted) -> bool:
        """Return whether changes have gone on for so long that they are not waited for."""
        return not _is_within(counted.uncounted_since, LATEST * self._recount)

    def await_quiet(self, counted: Counted) -> None:
        """Have a collection looked at again when it may be quiet."""
        self._rows.update_one(
            {"_id": counted.key, "generation": counted.generation, "changes": counted.changes},
            {"$set": {"recount_at": self._quiet_at(counted)}},
        )

    def settle(self, counted: Counted, products: int, images: int) -> bool:
        """Write what was counted in a collection since its counters were read.

        False, with nothing written, where something has changed meanwhile.
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
        """Note by how much the counters were seen to say too much while changes went on.

        After `LOOKS` of them, take the least that was seen off the counters, however they have
        changed. Return how much that was, None where another look is needed or another process
        was first.
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
    """Return whether a moment is less than that time ago.

    One that is still to come was written before the clock was set back, at a time unknown.
    """
    return moment is not None and timedelta(0) <= now() - moment < time
