"""The lease of a catalogue: one process at a time migrates it, builds its indexes or restores it.

Its row is in the table `schema`, and names the work, so that waiting processes can log it.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType

import structlog
from pymongo.errors import DuplicateKeyError, PyMongoError

from catalog.database.connection import Rows, now, stamp
from catalog.database.renewal import Renewal

log = structlog.get_logger(__name__)

#: A holder that has not renewed the lease for so long is dead, and another process takes it.
LEASE = timedelta(seconds=30)
RENEWAL_SECONDS = 10.0

#: Older releases read the same row, so the id must not change.
_ID = "lock"


class LeaseLostError(Exception):
    """The lease ran out while its holder was suspended, and another process took it."""


@dataclass(frozen=True)
class Held:
    """A lease that some process holds: its work, and its end in milliseconds since 1970."""

    work: str
    until: int


class Lease:
    """The lease of a catalogue, for a process that wants to take it."""

    def __init__(self, kept: Rows) -> None:
        self._kept = kept

    def held(self) -> Held | None:
        """Return the lease that is held, which may have ended; None if there is none."""
        row = self._kept.find_one({"_id": _ID})
        return None if row is None else Held(row.get("work", "a migration"), row["until"])

    def take(self, work: str) -> Holding | None:
        """Take the lease; return None if another process holds it."""
        holder = uuid.uuid4().hex
        lock = {"holder": holder, "until": stamp(now() + LEASE), "work": work}
        try:
            self._kept.insert_one({"_id": _ID, **lock})
        except DuplicateKeyError:
            held = self._kept.find_one({"_id": _ID})
            if held is None or held["until"] > stamp(now()):
                return None
            theirs = {"_id": _ID, "holder": held["holder"], "until": held["until"]}
            if self._kept.update_one(theirs, {"$set": lock}).modified_count != 1:
                return None
        return Holding(self._kept, holder)


class Holding:
    """A lease that this process holds; as a context it is renewed by a thread, then released."""

    def __init__(self, kept: Rows, holder: str) -> None:
        self.holder = holder
        self._kept = kept
        self._renewal = Renewal("catalogue lease", RENEWAL_SECONDS, lambda: self._extend({}), _tell)

    def __enter__(self) -> Holding:
        self._renewal.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._renewal.stop()
        self._kept.delete_one({"_id": _ID, "holder": self.holder})

    def say(self, work: str) -> None:
        """Name the work that begins now, for waiting processes, and renew the lease.

        Raises LeaseLostError if another process has taken it.
        """
        if not self._extend({"work": work}):
            raise LeaseLostError

    def _extend(self, change: dict[str, str]) -> bool:
        mine = {"_id": _ID, "holder": self.holder}
        later = {"until": stamp(now() + LEASE), **change}
        return self._kept.update_one(mine, {"$set": later}).matched_count == 1


def _tell(error: PyMongoError) -> None:
    # The lease outlives two renewals that fail.
    log.warning("lease of the catalogue not renewed", fault=str(error))
