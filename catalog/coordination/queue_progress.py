"""What the sweep knows of each queue: how far its consumers have come.

A queue is first in, first out. So a message that was sent before one that was
started a while ago, and that was not started itself, is lost.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from catalog.database.connection import Rows, moment, moment_or_none, now, stamp


class Queues:
    """One row per queue."""

    def __init__(self, rows: Rows, settling: timedelta) -> None:
        """`settling` is how long ago a start must be to prove older messages lost."""
        self._rows = rows
        self._settling = settling

    def started(self, queue: str, sent_at: datetime) -> None:
        """Note that a message sent at that time was started."""
        self._rows.update_one({"_id": queue}, {"$max": {"newest": stamp(sent_at)}}, upsert=True)

    def settled(self, queue: str) -> datetime | None:
        """Return the newest time of sending known to have been started `settling` ago or before.

        Keeps two samples: one ages while the one before it is in use.
        """
        row = self._rows.find_one({"_id": queue})
        if row is None or "newest" not in row:
            return None
        age = now() - moment(row.get("sampled_at", 0))
        settled: int | None = row.get("settled")
        if age >= self._settling:
            settled = row.get("sample")
            self._rows.update_one(
                {"_id": queue},
                {
                    "$set": {
                        "sampled_at": stamp(now()),
                        "sample": row["newest"],
                        "settled": settled,
                    }
                },
            )
        return moment_or_none(settled)
