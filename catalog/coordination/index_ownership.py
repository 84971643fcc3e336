"""Which process owns the index: a lease with an epoch, in one row.

The owner renews the lease. Another process takes it when it has ended, and raises the epoch.
The owner stamps its epoch on the rows of images before it makes them findable. So the writes of
a process that lost the lease without noticing find another stamp, and change nothing.

Epochs start at the seconds since 1970 and count up from there, so that the epochs of a row that
was lost with its database are not used again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from catalog.database.connection import Row, Rows, insert_new, moment, now, stamp

_INDEX = "index"


class NotOwnerError(Exception):
    """The index is owned by another process, or by none."""


@dataclass(frozen=True, kw_only=True)
class Owner:
    """The owner of the index as its row says."""

    epoch: int
    process: str  #: its host and process id, for logs; empty once it released the lease
    directory: str  #: where it keeps its shards, for logs
    lock: str  #: identifies the lock file that it holds; no other live process has the same
    until: datetime  #: the end of its lease

    @property
    def is_released(self) -> bool:
        """Whether the owner released the lease."""
        return not self.process

    @property
    def has_ended(self) -> bool:
        """Whether the lease has run out or was released."""
        return self.is_released or self.until <= now()

    @classmethod
    def from_row(cls, row: Row) -> Owner:
        """Return the owner of a row."""
        return cls(
            epoch=row["epoch"],
            process=row["process"],
            directory=row["directory"],
            lock=row["lock"],
            until=moment(row["until"]),
        )

    def to_row(self) -> Row:
        """Return the row of an owner."""
        return {
            "_id": _INDEX,
            "epoch": self.epoch,
            "process": self.process,
            "directory": self.directory,
            "lock": self.lock,
            "until": stamp(self.until),
        }


class OwnerLease:
    """The row of the owner; every write is one compare-and-set."""

    def __init__(self, rows: Rows, lease: timedelta) -> None:
        """Take the duration of a lease, which each renewal starts anew."""
        self._rows = rows
        self._lease = lease

    def current(self) -> Owner | None:
        """Return the owner, also one whose lease has ended; None if there never was one."""
        row = self._rows.find_one({"_id": _INDEX})
        return None if row is None else Owner.from_row(row)

    def take(
        self,
        process: str,
        directory: str,
        lock: str,
        *,
        silent: Owner | None = None,
        by_clock: bool = True,
    ) -> Owner | None:
        """Take the lease under a new epoch; return None while another process holds it.

        A lease that has not ended is taken in two cases. The owner of the same lock file is
        dead, since the caller holds that file now. And a `silent` owner, whose row the caller
        has seen unchanged for longer than a lease by its own clock, is dead or too late.
        A caller that watches the row in that way passes `by_clock=False`: it need not trust the
        database's clock, which may be set forward.
        """
        held = self.current()
        if held is None:
            first = Owner(
                epoch=stamp(now()) // 1000,
                process=process,
                directory=directory,
                lock=lock,
                until=now() + self._lease,
            )
            return None if insert_new(self._rows, [first.to_row()]) else first
        is_free = held.is_released or held.lock == lock or held == silent
        if not is_free and not (by_clock and held.has_ended):
            return None
        taken = Owner(
            epoch=held.epoch + 1,
            process=process,
            directory=directory,
            lock=lock,
            until=now() + self._lease,
        )
        written = self._rows.replace_one(_held(held), taken.to_row())
        return taken if written.matched_count else None

    def renew(self, owner: Owner) -> Owner | None:
        """Renew a lease, even one that has ended; return None if another process has taken it."""
        renewed = replace(owner, until=now() + self._lease)
        written = self._rows.update_one(
            {"_id": _INDEX, "epoch": owner.epoch}, {"$set": {"until": stamp(renewed.until)}}
        )
        return renewed if written.matched_count else None

    def release(self, owner: Owner) -> None:
        """End a lease now; do nothing if another process has taken it.

        The row stays, since the next epoch is counted from it.
        """
        self._rows.update_one(
            {"_id": _INDEX, "epoch": owner.epoch}, {"$set": {"process": "", "until": 0}}
        )


def _held(owner: Owner) -> Row:
    return {"_id": _INDEX, "epoch": owner.epoch, "until": stamp(owner.until)}
