"""How far the consumers of each queue have come, so that the sweep finds lost messages.

A queue is first in, first out. A message that is not started is lost if one that was sent
after it was started a while ago.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from catalog.database.connection import Rows, moment, moment_or_none, now, stamp


class Queues:
    """One row per queue."""

    def __init__(self, rows: Rows, settling: timedelta) -> None:
        """Take how long ago a start must be to prove older messages lost."""
        self._rows = rows
        self._settling = settling

    def started(self, queue: str, sent_at: datetime) -> None:
        """Note that a message sent at that time was started."""
        self._rows.update_one({"_id": queue}, {"$max": {"newest": stamp(sent_at)}}, upsert=True)

    def settled(self, queue: str) -> datetime | None:
        """Return the newest sending time of the messages started at least `settling` ago.

        Return None if none is known yet. Keeps two samples: one ages while the one before it
        is in use.
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
