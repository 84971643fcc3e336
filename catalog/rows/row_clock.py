"""The clock that the times in rows come from, and the repair of rows after it jumped.

Every sweep writes its time into a row, and the next one compares. Much later means that there
was no sweep meanwhile, so leases that could not be renewed may have run out. Earlier means that
the clock was set back, and that times in rows are too far ahead. A row serves better than the
kernel's monotonic clock: every process that sweeps reads the same one, it outlives them, and it
shows a machine that slept, a stack that was stopped or a database that was away, which affect
leases like a jump.

Times are repaired by bounds, not by adding a difference: two processes that see the same jump,
or one that dies halfway, do no harm.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from pymongo.database import Database

from catalog.database.connection import Row, moment, stamp, time_of
from catalog.database.durations import LONGEST_PAUSE, Durations
from catalog.rows.chunks import DUE_FIELDS, SENT_FIELDS, State
from catalog.rows.purges import LINGER
from config.steady_clock import steady_seconds

_SWEEP = "sweep"
_AT_ONCE = timedelta(0)


@dataclass(frozen=True, kw_only=True)
class Look:
    """The result of comparing the clock with the last sweep's."""

    at: datetime  #: the time of the database; what is due by then may be handled
    steady: timedelta  #: how long the clock has not jumped
    unseen: timedelta = timedelta(0)  #: how long there was no look, if leases were extended
    set_back: timedelta = timedelta(0)  #: how far the clock was set back, if times were bounded
    rows: int = 0  #: how many rows were changed


class RowClock:
    """The row of the last look, and the repair of the times that a jump invalidates."""

    def __init__(self, rows: Database[Row], times: Durations) -> None:
        self._rows = rows
        self._times = times
        #: The last look of this process, by the database's clock and by the steady one.
        self._last: tuple[datetime, float] | None = None

    def look(self, patience: timedelta) -> Look:
        """Compare the time with that of the last look, and repair the rows after a jump.

        `patience` is how long there may be no look before leases are extended; a lease that is
        renewed in time can't run out within it. Raises PyMongoError.
        """
        kept = self._rows["clock"].find_one({"_id": _SWEEP}) or {}
        # After the read, which may have waited for a database that was away.
        at = time_of(self._rows.client)
        before = moment(kept.get("seen", stamp(at)))
        steady_since = moment(kept.get("steady_since", stamp(at)))
        unseen = set_back = timedelta(0)
        rows = 0
        jumped = self._has_jumped(at)
        if at - before > patience:
            unseen, rows = at - before, self._extend_leases(at)
            steady_since = at if jumped else steady_since
        elif before - at > self._times.lease:
            set_back, rows, steady_since = before - at, self._bound(at), at
        # A smaller step back delays a recovery by no more than a lease.
        # Written last, so that the next process repeats a repair that was cut off.
        seen = {"seen": stamp(at), "steady_since": stamp(steady_since)}
        self._rows["clock"].update_one({"_id": _SWEEP}, {"$set": seen}, upsert=True)
        return Look(at=at, steady=at - steady_since, unseen=unseen, set_back=set_back, rows=rows)

    def _has_jumped(self, at: datetime) -> bool:
        """Return whether the clock may have jumped since the last look of this process.

        Return True on its first look. A long time without a look alone is no jump.
        """
        last, steady = self._last, steady_seconds()
        self._last = (at, steady)
        if last is None:
            return True
        passed = timedelta(seconds=steady - last[1])
        return abs(at - last[0] - passed) > self._times.lease

    def _extend_leases(self, at: datetime) -> int:
        """Extend leases that ran out by a lease, and return how many; live workers renew theirs."""
        field = DUE_FIELDS[State.RUNNING]
        extended = self._rows["chunks"].update_many(
            {field: {"$gt": 0, "$lte": stamp(at)}},
            {"$set": {field: stamp(at + self._times.lease)}},
        )
        return extended.modified_count

    def _bound(self, at: datetime) -> int:
        """Limit times to the furthest that would be written now; return how many were changed."""
        changed = 0
        for table, field, longest in self._longest():
            latest = stamp(at + longest)
            bounded = self._rows[table].update_many(
                {field: {"$gt": latest}}, {"$set": {field: latest}}
            )
            changed += bounded.modified_count
        # The progress of consumers is measured in sending times, which are wrong now.
        self._rows["queues"].delete_many({})
        return changed

    def _longest(self) -> Iterator[tuple[str, str, timedelta]]:
        """Yield (table, field, how far ahead it is written) of every field with a due time."""
        times = self._times
        yield "chunks", DUE_FIELDS[State.RUNNING], times.lease
        # That of a submission that is not open; no other pause is longer.
        yield "chunks", DUE_FIELDS[State.WAITING], max(times.submission, LONGEST_PAUSE)
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
        # A submission under way at this moment is refused after it, and can be repeated.
        yield "tasks", "submission_at", times.submission
