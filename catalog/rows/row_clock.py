"""The clock that the times in rows come from, and what is mended after it jumped.

Every sweep notes its time in a row. The next one compares: much later means that there
was no sweep meanwhile, so leases may have run out that could not be renewed; earlier
means that the clock was set back, and that times in rows are too far ahead. A row
serves better than the kernel's steady clock would: it tells the same to every
process that sweeps, outlives them all, and sees a machine that slept, a stack that
was stopped or a database that was away, which do to leases what a jump does.

What a jump spoilt is mended by bounds, not by arithmetic: two that see the same jump, or
one that dies halfway, do no harm.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from pymongo.database import Database

from catalog.database.connection import Row, moment, stamp, time_of
from catalog.database.database_time import steady_seconds
from catalog.database.durations import Durations
from catalog.rows.chunks import DUE_FIELDS, SENT_FIELDS, State
from catalog.rows.purges import LINGER

_SWEEP = "sweep"
_AT_ONCE = timedelta(0)


@dataclass(frozen=True, kw_only=True)
class Look:
    """What a look at the clock told."""

    at: datetime  #: what is due by then may be judged
    steady: timedelta  #: for so long the clock has not jumped
    unseen: timedelta = timedelta(0)  #: there was no look for so long, and leases were spared
    set_back: timedelta = timedelta(0)  #: the clock was set back so far, and due times bounded
    rows: int = 0  #: that were changed for it


class RowClock:
    """The row of the last look, and the times that a jump spoils."""

    def __init__(self, rows: Database[Row], times: Durations) -> None:
        self._rows = rows
        self._times = times
        #: The last look of this process, by the database's clock and by the steady one.
        self._last: tuple[datetime, float] | None = None

    def look(self, patience: timedelta) -> Look:
        """Compare the time with that of the last look, and mend what a jump spoilt.

        `patience` is how long there may be no look before leases are spared; a lease that is
        renewed in time can't run out within it.
        """
        kept = self._rows["clock"].find_one({"_id": _SWEEP}) or {}
        # Only now: a database that was away may have kept the read waiting.
        at = time_of(self._rows.client)
        before = moment(kept.get("seen", stamp(at)))
        steady_since = moment(kept.get("steady_since", stamp(at)))
        unseen = set_back = timedelta(0)
        rows = 0
        jumped = self._has_jumped(at)
        if at - before > patience:
            unseen, rows = at - before, self._spare(at)
            steady_since = at if jumped else steady_since
        elif before - at > self._times.lease:
            set_back, rows, steady_since = before - at, self._bound(at), at
        # A smaller step delays a recovery by no more than a lease.
        # Last, so that a process that dies halfway leaves the rest to the next.
        seen = {"seen": stamp(at), "steady_since": stamp(steady_since)}
        self._rows["clock"].update_one({"_id": _SWEEP}, {"$set": seen}, upsert=True)
        return Look(at=at, steady=at - steady_since, unseen=unseen, set_back=set_back, rows=rows)

    def _has_jumped(self, at: datetime) -> bool:
        """Return whether the clock may have jumped since the last look of this process.

        A long silence alone is no jump, and keeps nothing from being forgotten.
        """
        last, steady = self._last, steady_seconds()
        self._last = (at, steady)
        if last is None:
            return True
        passed = timedelta(seconds=steady - last[1])
        return abs(at - last[0] - passed) > self._times.lease

    def _spare(self, at: datetime) -> int:
        """Let leases that ran out last once more; a worker that is alive renews its own."""
        field = DUE_FIELDS[State.RUNNING]
        spared = self._rows["chunks"].update_many(
            {field: {"$gt": 0, "$lte": stamp(at)}},
            {"$set": {field: stamp(at + self._times.lease)}},
        )
        return spared.modified_count

    def _bound(self, at: datetime) -> int:
        """Let no time lie further ahead than one that is written now would."""
        changed = 0
        for table, field, longest in self._longest():
            latest = stamp(at + longest)
            bounded = self._rows[table].update_many(
                {field: {"$gt": latest}}, {"$set": {field: latest}}
            )
            changed += bounded.modified_count
        # How far consumers have come is told by times of sending.
        self._rows["queues"].delete_many({})
        return changed

    def _longest(self) -> Iterator[tuple[str, str, timedelta]]:
        """Yield every field that says when a row is looked at or was sent.

        Each with its table, and how far ahead it is ever written.
        """
        times = self._times
        yield "chunks", DUE_FIELDS[State.RUNNING], times.lease
        # One of a submission that is not open; no other pause is longer.
        yield "chunks", DUE_FIELDS[State.WAITING], max(times.submission, times.retry)
        yield "chunks", DUE_FIELDS[State.DONE], times.lease
        for field in SENT_FIELDS.values():
            yield "chunks", field, _AT_ONCE
        yield "collections", "recount_at", times.recount
        yield "collections", "change_at", times.lease
        yield "images", "index_at", times.lease
        yield "images", "remove_at", times.deleted
        yield "keys", "remove_at", times.key
        yield "products", "copy_at", times.lease
        yield "products", "deleted_at", _AT_ONCE
        yield "purges", "due_at", LINGER
        yield "purges", "deleted_at", _AT_ONCE
        yield "tasks", "remove_at", times.task
        # A submission under way at this very moment is refused by it, and can be made again.
        yield "tasks", "submission_at", times.submission
