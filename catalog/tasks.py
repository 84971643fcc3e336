"""The tasks: what a client was told to poll, and the chunks that do the work."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from pymongo.errors import DuplicateKeyError

from catalog.connection import Row, Rows, moment, now, stamp
from catalog.pages import Page, cut, within

#: Sorts after every digit.
AFTER_DIGITS = ":"

_TASK_ID = re.compile(r"(?P<user>[^/]+)/(?P<name>[^/]+)/[0-9]{10}\.[0-9]{6}")


@dataclass(frozen=True)
class Ending:
    """How a finished task ended."""

    succeeded: int
    failed: int
    finished_at: datetime


@dataclass(frozen=True)
class TaskRow:
    """A task as its row says."""

    task_id: str
    user: str
    collection: str
    image_count: int
    chunk_ids: tuple[str, ...]
    created_at: datetime
    ending: Ending | None = None  #: None as long as an image is pending


def user_of(task_id: str) -> str | None:
    """Give the user that a well-formed task id names, None for a malformed one."""
    match = _TASK_ID.fullmatch(task_id)
    return None if match is None else match["user"]


class Tasks:
    """The rows of tasks; `_id` is the task id."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def create(self, user: str, name: str, image_count: int) -> TaskRow:
        """Write a task that has no chunks yet, under an id that no other task has."""
        microseconds = time.time_ns() // 1000
        while True:
            seconds, fraction = divmod(microseconds, 1_000_000)
            task = TaskRow(
                f"{user}/{name}/{seconds}.{fraction:06d}",
                user,
                f"{user}/{name}",
                image_count,
                (),
                now(),
            )
            try:
                self._rows.insert_one(
                    {
                        "_id": task.task_id,
                        # Once more: the embedded server reads every row for a range of _id.
                        "task_id": task.task_id,
                        "user": user,
                        "collection": task.collection,
                        "image_count": image_count,
                        "chunk_ids": [],
                        "finished_at": None,
                        "created_at": stamp(task.created_at),
                        "listing": _listing(user, microseconds),
                    }
                )
            except DuplicateKeyError:
                microseconds += 1
            else:
                return task

    def add_chunks(self, task: TaskRow, chunk_ids: Sequence[str]) -> TaskRow:
        """Note chunks of the task; give it with them."""
        self.add_chunks_by_id(task.task_id, chunk_ids)
        return replace(task, chunk_ids=(*task.chunk_ids, *chunk_ids))

    def add_chunks_by_id(self, task_id: str, chunk_ids: Sequence[str]) -> None:
        """Note chunks of a task; those that it has already are not noted twice."""
        self._rows.update_one(
            {"_id": task_id}, {"$addToSet": {"chunk_ids": {"$each": list(chunk_ids)}}}
        )

    def find(self, task_id: str) -> TaskRow | None:
        """Give the task, or None."""
        row = self._rows.find_one({"_id": task_id})
        return None if row is None else _of(row)

    def finish(self, task_id: str, succeeded: int, failed: int) -> None:
        """Note how a task ended whose images all have their outcome; the first note stays."""
        self._rows.update_one(
            {"_id": task_id, "finished_at": None},
            {"$set": {"succeeded": succeeded, "failed": failed, "finished_at": stamp(now())}},
        )

    def page(self, user: str, collection: str | None, before: str, limit: int) -> Page[TaskRow]:
        """Give at most `limit` tasks of a user, or of a collection's key, newest first.

        `before` is where the page before ended, empty at the start. Raises ValueError for a
        place of another list.
        """
        field, first = ("listing", user) if collection is None else ("task_id", collection)
        span = {"$gt": f"{first}/", "$lt": within(before, f"{first}/") or f"{first}/{AFTER_DIGITS}"}
        found = list(self._rows.find({field: span}).sort(field, -1).limit(limit + 1))
        rows, place = cut(found, limit, lambda row: str(row[field]))
        return Page([_of(row) for row in rows], place)


def _listing(user: str, microseconds: int) -> str:
    return f"{user}/{microseconds:016d}"


def _of(row: Row) -> TaskRow:
    finished_at = row["finished_at"]
    return TaskRow(
        row["_id"],
        row["user"],
        row["collection"],
        row["image_count"],
        tuple(row["chunk_ids"]),
        moment(row["created_at"]),
        None
        if finished_at is None
        else Ending(row["succeeded"], row["failed"], moment(finished_at)),
    )
