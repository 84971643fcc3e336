"""The lease of a catalogue: one process at a time migrates it, builds its indexes or restores it.

A row beside the version of the rows. It names the work, so that processes that wait can say why.
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

#: A holder that is silent so long is dead, and another process takes the lease.
LEASE = timedelta(seconds=30)
RENEWAL_SECONDS = 10.0

#: Older releases read this row as well.
_ID = "lock"


class LeaseLostError(Exception):
    """The lease ended while its holder slept, and another process took it."""


@dataclass(frozen=True)
class Held:
    """A lease that another process holds: its work, and until when unless it is renewed."""

    work: str
    until: int


class Lease:
    """The lease, as a process sees it that wants it."""

    def __init__(self, kept: Rows) -> None:
        self._kept = kept

    def held(self) -> Held | None:
        """Return what another process holds, or None; it may have ended."""
        row = self._kept.find_one({"_id": _ID})
        return None if row is None else Held(row.get("work", "a migration"), row["until"])

    def take(self, work: str) -> Holding | None:
        """Take the lease unless another living process holds it; return None if one does."""
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
    """A lease in hand. As a context it is renewed from a thread, and given back at the end."""

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
        """Name the work that begins now, for processes that wait, and renew the lease.

        Raises LeaseLostError where another process has it.
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
