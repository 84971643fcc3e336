"""Idempotency keys: the task of each key, so that a repeated call gets the same answer.

A key is written before its submission begins, so that only one of two concurrent calls works.
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
    """A key as its row says: the hash of the call's body, and its task."""

    key: str
    body: str  #: SHA-256 of what was sent, in hex
    holder: str  #: the id of the call that works on it
    task_id: str | None  #: None until the call has a task
    due_at: datetime  #: from then on, a call without a task counts as cut off

    @property
    def is_overdue(self) -> bool:
        """Whether the call that works on it counts as dead."""
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
    """The rows of idempotency keys; `_id` is "user/key"."""

    def __init__(self, rows: Rows, times: Durations) -> None:
        """Take from `times` how long a key is kept, and when a call counts as cut off."""
        self._rows = rows
        self._times = times

    def take(self, user: str, key: str, body: str) -> tuple[KeyRow, bool]:
        """Insert a key or find it; return its row, and whether this call inserted it."""
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
        """Take over a key from a call that was cut off; return None if another call did."""
        holder, due_at = uuid.uuid4().hex, now() + self._times.submission
        taken = self._rows.update_one(
            {"_id": row.key, "holder": row.holder},
            {"$set": {"holder": holder, "task_id": None, "due_at": stamp(due_at)}},
        )
        if taken.matched_count == 0:
            return None
        return KeyRow(key=row.key, body=row.body, holder=holder, task_id=None, due_at=due_at)

    def note(self, row: KeyRow, task_id: str) -> bool:
        """Write the task of a key; return False if another call has taken the key over."""
        noted = self._rows.update_one(
            {"_id": row.key, "holder": row.holder}, {"$set": {"task_id": task_id}}
        )
        return noted.matched_count == 1

    def give_back(self, row: KeyRow) -> None:
        """Remove a key that led to no task, unless another call has taken it over."""
        self._rows.delete_one({"_id": row.key, "holder": row.holder})

    def to_be_removed(self, at: datetime, limit: int) -> list[str]:
        """Return the ids of at most `limit` keys that expired by then."""
        due = self._rows.find({"remove_at": {"$gt": 0, "$lte": stamp(at)}}, ["_id"])
        return [row["_id"] for row in due.limit(limit).batch_size(limit + 1)]

    def remove(self, ids: Sequence[str], at: datetime) -> None:
        """Remove those of these keys that expired by `at`.

        A key that another process removed may have been inserted again since; it stays.
        """
        delete_by_id(self._rows, ids, {"remove_at": {"$lte": stamp(at)}})
