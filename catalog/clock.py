"""The clock that the times in rows come from, and what is mended after it jumped.

Every sweep notes its time in a row. The next one compares: much later means that
nobody looked meanwhile, so leases may have run out that nobody could renew; earlier
means that the clock was set back, and that times in rows are too far ahead. A row
serves better than the kernel's steady clock would: it tells the same to every
process that sweeps, outlives them all, and sees a machine that slept, a stack that
was stopped or a database that was away, which do to leases what a jump does.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from pymongo.database import Database

from catalog.chunks import State
from catalog.connection import Row, moment, stamp, time_of

#: Every field that says when a row is to be looked at, by table.
DUE_FIELDS = (
    ("chunks", "due_at"),
    ("collections", "recount_at"),
    ("collections", "change_at"),
    ("images", "index_at"),
    ("images", "remove_at"),
    ("keys", "remove_at"),
    ("products", "deleted_at"),
    ("purges", "due_at"),
    ("tasks", "remove_at"),
    # A submission under way at this very moment is refused by it, and can be made again.
    ("tasks", "submission_at"),
)

_SWEEP = "sweep"


@dataclass(frozen=True)
class Look:
    """What a look at the clock told."""

    at: datetime  #: what is due by then may be judged
    unseen: timedelta = timedelta(0)  #: for so long nobody looked, and leases were spared
    set_back: timedelta = timedelta(0)  #: so far the clock was set back, and due times with it
    rows: int = 0  #: that were changed for it


class Clock:
    """The row of the last look, and the times that a jump spoils."""

    def __init__(self, rows: Database[Row], lease: timedelta) -> None:
        self._rows = rows
        self._lease = lease

    def look(self, patience: timedelta) -> Look:
        """Compare the time with that of the last look, and mend what a jump spoilt.

        `patience` is how long nobody may look before leases are spared; a lease that is
        renewed in time can't run out within it. Two at once do no harm.
        """
        kept = self._rows["clock"].find_one({"_id": _SWEEP})
        # Only now: a database that was away may have kept the read waiting.
        at = time_of(self._rows.client)
        before = at if kept is None else moment(kept["seen"])
        if at - before > patience:
            look = Look(at, unseen=at - before, rows=self._spare(at))
        elif before - at > self._lease:
            look = Look(at, set_back=before - at, rows=self._set_back(before, at))
        else:
            # A smaller step delays a recovery by no more than a lease.
            look = Look(at)
        # Last, so that whoever dies halfway leaves the rest to the next.
        self._rows["clock"].update_one({"_id": _SWEEP}, {"$set": {"seen": stamp(at)}}, upsert=True)
        return look

    def _spare(self, at: datetime) -> int:
        """Let leases that ran out last once more; whoever lives renews them."""
        spared = self._rows["chunks"].update_many(
            {"due_at": {"$lte": stamp(at)}, "state": State.RUNNING},
            {"$set": {"due_at": stamp(at + self._lease)}},
        )
        return spared.modified_count

    def _set_back(self, before: datetime, at: datetime) -> int:
        """Move the times that the old clock wrote; they are not before its last look."""
        step = stamp(at) - stamp(before)
        changed = 0
        for table, field in DUE_FIELDS:
            moved = self._rows[table].update_many(
                {field: {"$gte": stamp(before)}}, {"$inc": {field: step}}
            )
            changed += moved.modified_count
        # Which message was sent before which is told from these.
        self._rows["chunks"].update_many(
            {"sent_at": {"$gt": stamp(at)}},
            {"$inc": {"sent_at": step}},
        )
        self._rows["queues"].delete_many({})
        return changed
