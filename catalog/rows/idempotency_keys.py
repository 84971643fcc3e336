"""Idempotency keys: which task a client's key stands for, so that a repeat gives the same.

A key is noted before its submission begins, so that of two calls at once one works.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from pymongo.errors import DuplicateKeyError

from catalog.database.connection import Row, Rows, delete_by_id, moment, now, stamp
from catalog.database.durations import Durations


@dataclass(frozen=True, kw_only=True)
class KeyRow:
    """A key as its row says: what was sent with it, and the task that came of it."""

    key: str
    body: str  #: SHA-256 of what was sent, in hex
    holder: str  #: of the call that works on it
    task_id: str | None
    due_at: datetime  #: from then on a call that did not answer was cut off

    @property
    def is_overdue(self) -> bool:
        """Whether the call that works on it must be taken for dead."""
        return self.due_at <= now()

    @classmethod
    def from_row(cls, row: Row) -> KeyRow:
        """Return the key of a row."""
        return cls(
            key=row["_id"],
            body=row["body"],
            holder=row["holder"],
            task_id=row["task_id"],
            due_at=moment(row["due_at"]),
        )


class IdempotencyKeys:
    """The rows of idempotency keys; `_id` is user/key."""

    def __init__(self, rows: Rows, times: Durations) -> None:
        """Take from `times` how long a key is kept, and when a call was cut off."""
        self._rows = rows
        self._times = times

    def take(self, user: str, key: str, body: str) -> tuple[KeyRow, bool]:
        """Return the row of a key, and whether this call is the one to work on it."""
        begun = now()
        row = {
            "_id": f"{user}/{key}",
            "body": body,
            "holder": uuid.uuid4().hex,
            "task_id": None,
            "due_at": stamp(begun + self._times.submission),
            "remove_at": stamp(begun + self._times.key),
        }
        while True:
            try:
                self._rows.insert_one(row)
            except DuplicateKeyError:
                found = self._rows.find_one({"_id": row["_id"]})
                if found is not None:
                    return KeyRow.from_row(found), False
            else:
                return KeyRow.from_row(row), True

    def retake(self, row: KeyRow) -> KeyRow | None:
        """Take over a key from a call that was cut off; None where somebody else did."""
        holder, due_at = uuid.uuid4().hex, now() + self._times.submission
        taken = self._rows.update_one(
            {"_id": row.key, "holder": row.holder},
            {"$set": {"holder": holder, "task_id": None, "due_at": stamp(due_at)}},
        )
        if taken.matched_count == 0:
            return None
        return KeyRow(key=row.key, body=row.body, holder=holder, task_id=None, due_at=due_at)

    def note(self, row: KeyRow, task_id: str) -> bool:
        """Note the task that a key stands for; False where another call took the key over."""
        noted = self._rows.update_one(
            {"_id": row.key, "holder": row.holder}, {"$set": {"task_id": task_id}}
        )
        return noted.matched_count == 1

    def give_back(self, row: KeyRow) -> None:
        """Forget a key of which no task came."""
        self._rows.delete_one({"_id": row.key, "holder": row.holder})

    def to_be_removed(self, at: datetime, limit: int) -> list[str]:
        """Return the ids of at most `limit` keys whose time was over by then."""
        due = self._rows.find({"remove_at": {"$gt": 0, "$lte": stamp(at)}}, ["_id"])
        return [row["_id"] for row in due.limit(limit).batch_size(limit + 1)]

    def remove(self, ids: Sequence[str], at: datetime) -> None:
        """Remove those of these keys whose time was over by `at`.

        One that another process removed before may have been sent again, and then counts anew.
        """
        delete_by_id(self._rows, ids, {"remove_at": {"$lte": stamp(at)}})
