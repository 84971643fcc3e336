"""The tasks, which clients poll, and the submissions that become tasks."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum, auto

from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError

from catalog.database.connection import Row, Rows, delete_by_id, find_by_id, moment, now, stamp
from catalog.database.database_time import DATABASE_TIME
from catalog.database.durations import Durations
from catalog.database.pages import Page, cut, within

#: A character that sorts after every digit.
AFTER_DIGITS = ":"

_STATES = {False: "open", True: "finished"}

_TASK_ID = re.compile(r"(?P<user>[^/]+)/(?P<name>[^/]+)/[0-9]{10}\.[0-9]{6}")


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How a finished task ended."""

    succeeded: int
    failed: int
    finished_at: datetime


@dataclass(frozen=True, kw_only=True)
class TaskRow:
    """A task as its row says."""

    task_id: str
    user: str
    collection: str
    image_count: int
    chunk_ids: tuple[str, ...]
    created_at: datetime
    ending: Ending | None = None  #: None until the end of the task is noted
    refusals: tuple[Row, ...] = ()  #: the answers to its client about images that were refused
    #: Outcomes by label of images of open chunks whose own rows were removed.
    ended: Mapping[int, str] = field(default_factory=dict)

    @classmethod
    def from_row(cls, row: Row) -> TaskRow:
        """Return the task of a row."""
        finished_at = row["finished_at"]
        return cls(
            task_id=row["_id"],
            user=row["user"],
            collection=row["collection"],
            image_count=row["image_count"],
            chunk_ids=tuple(row["chunk_ids"]),
            created_at=moment(row["created_at"]),
            ending=None
            if finished_at is None
            else Ending(
                succeeded=row["succeeded"], failed=row["failed"], finished_at=moment(finished_at)
            ),
            refusals=tuple(row["refusals"]),
            ended={int(label): outcome for label, outcome in row.get("ended", {}).items()},
        )


@dataclass(frozen=True, kw_only=True)
class Submission:
    """A task whose images are being written; its client has no answer yet.

    Each image is (label, key of the claim on its name, product_id).
    """

    task_id: str
    collection: str
    generation: str
    images: tuple[tuple[int, str, str], ...]
    due_at: datetime

    @property
    def is_overdue(self) -> bool:
        """Whether the call that wrote it counts as cut off."""
        return self.due_at <= now()

    @classmethod
    def from_row(cls, row: Row) -> Submission:
        """Return the submission in a row of the table; the row must have one."""
        return cls(
            task_id=row["_id"],
            collection=row["collection"],
            generation=row["generation"],
            images=tuple(
                (label, name, product_id) for label, name, product_id in row["submission"]
            ),
            due_at=moment(row["submission_at"]),
        )


class Standing(Enum):
    """What a task id names."""

    TASK = auto()
    SUBMISSION = auto()  #: under way, or cut off and to be undone
    NOTHING = auto()


@dataclass(frozen=True)
class OpenWork:
    """The images and the payload bytes of all tasks that are not finished."""

    images: int
    payload_bytes: int


def user_of(task_id: str) -> str | None:
    """Return the user in a task id, None if the id is malformed."""
    match = _TASK_ID.fullmatch(task_id)
    return None if match is None else match["user"]


class Tasks:
    """The rows of tasks; `_id` is the task id.

    A task begins as a submission: clients do not see it before it is opened, and one that is not
    opened in time is rolled back.
    """

    def __init__(self, rows: Rows, times: Durations) -> None:
        """Take when a submission counts as cut off, and how long a finished task is kept."""
        self._rows = rows
        self._times = times

    def begin(
        self,
        user: str,
        collection: str,
        generation: str,
        images: Sequence[tuple[int, str, str]],
    ) -> Submission:
        """Write a submission of images to the collection with that key, under a new task id."""
        microseconds = DATABASE_TIME.microseconds()
        created_at = now()
        due_at = created_at + self._times.submission
        while True:
            seconds, fraction = divmod(microseconds, 1_000_000)
            task_id = f"{collection}/{seconds}.{fraction:06d}"
            try:
                self._rows.insert_one(
                    {
                        "_id": task_id,
                        "user": user,
                        "collection": collection,
                        "generation": generation,
                        "submission": [list(image) for image in images],
                        "submission_at": stamp(due_at),
                        "image_count": 0,
                        "chunk_ids": [],
                        "finished_at": None,
                        "created_at": stamp(created_at),
                    }
                )
            except DuplicateKeyError:
                microseconds += 1
            else:
                return Submission(
                    task_id=task_id,
                    collection=collection,
                    generation=generation,
                    images=tuple(images),
                    due_at=due_at,
                )

    def open(
        self,
        submission: Submission,
        chunk_ids: Sequence[str],
        image_count: int,
        payload_bytes: int,
        refusals: Sequence[Row] = (),
    ) -> TaskRow | None:
        """Make a submission a task; return None if it was taken for cut off meanwhile."""
        seconds = submission.task_id.rpartition("/")[2].replace(".", "")
        row = self._rows.find_one_and_update(
            {"_id": submission.task_id, "submission_at": stamp(submission.due_at)},
            {
                "$set": {
                    # A copy of `_id`: the embedded server reads every row for a range of that.
                    "task_id": submission.task_id,
                    "listing": _listing(submission.collection.partition("/")[0], int(seconds)),
                    **state_fields(submission.task_id, is_finished=False),
                    "chunk_ids": list(chunk_ids),
                    "image_count": image_count,
                    "payload_bytes": payload_bytes,
                    "refusals": list(refusals),
                    "open_since": stamp(now()),
                },
                "$unset": {"submission": 1, "submission_at": 1},
            },
            return_document=ReturnDocument.AFTER,
        )
        return None if row is None else TaskRow.from_row(row)

    def submission(self, task_id: str) -> Submission | None:
        """Return the submission with that id; None if there is none or it was opened."""
        row = self._rows.find_one({"_id": task_id})
        return None if row is None or "submission" not in row else Submission.from_row(row)

    def standing(self, task_id: str) -> Standing:
        """Return whether a task id names a task, a submission or nothing."""
        row = self._rows.find_one({"_id": task_id}, ["submission_at"])
        if row is None:
            return Standing.NOTHING
        return Standing.SUBMISSION if "submission_at" in row else Standing.TASK

    def overdue_submissions(self, limit: int) -> list[Submission]:
        """Return at most `limit` submissions that count as cut off."""
        found = self._rows.find({"submission_at": {"$lte": stamp(now())}}).limit(limit)
        return [Submission.from_row(row) for row in found]

    def unopened(self) -> list[Submission]:
        """Return all submissions, those under way and those that are to be undone."""
        return [Submission.from_row(row) for row in self._rows.find({"submission_at": {"$gt": 0}})]

    def take_back(self, submission: Submission) -> Submission | None:
        """Prevent that a submission is opened, and return it with a new time limit.

        The caller has as long to undo it as a submission may take. Return None if it was opened,
        removed, or taken back by another call.
        """
        due_at = now() + self._times.submission
        taken = self._rows.update_one(
            {"_id": submission.task_id, "submission_at": stamp(submission.due_at)},
            {"$set": {"submission_at": stamp(due_at)}},
        )
        return replace(submission, due_at=due_at) if taken.matched_count == 1 else None

    def remove(self, task_id: str) -> None:
        """Remove the row of a task or of a submission."""
        self._rows.delete_one({"_id": task_id})

    def remove_all(self, task_ids: Sequence[str]) -> None:
        """Remove the rows of tasks."""
        delete_by_id(self._rows, task_ids)

    def add_chunks(self, task_id: str, chunk_ids: Sequence[str]) -> None:
        """Add chunks to a task; ids that it has already are not added twice."""
        self._rows.update_one(
            {"_id": task_id}, {"$addToSet": {"chunk_ids": {"$each": list(chunk_ids)}}}
        )

    def find(self, task_id: str) -> TaskRow | None:
        """Return the task with that id; None if there is none or it is still a submission."""
        row = self._rows.find_one({"_id": task_id})
        return None if row is None or "submission" in row else TaskRow.from_row(row)

    def unfinished(self, task_ids: Sequence[str]) -> set[str]:
        """Return the ids of the tasks that exist and whose end is not noted."""
        found = find_by_id(self._rows, task_ids, ["finished_at"])
        return {task_id for task_id, row in found.items() if row["finished_at"] is None}

    def note_ended(self, task_id: str, outcomes: Mapping[int, str]) -> None:
        """Write the outcomes, by label, of images whose rows are about to be removed."""
        self._rows.update_one({"_id": task_id}, {"$set": _ended(outcomes)})

    def finish(
        self, task_id: str, succeeded: int, failed: int, ended: Mapping[int, str] | None = None
    ) -> None:
        """Note the end of a task whose images all have an outcome; a second note is ignored.

        `ended` has the outcomes, by label, of images whose chunks are not done.
        """
        finished_at = now()
        self._rows.update_one(
            {"_id": task_id, "finished_at": None},
            {
                "$set": {
                    "succeeded": succeeded,
                    "failed": failed,
                    "finished_at": stamp(finished_at),
                    "remove_at": stamp(finished_at + self._times.task),
                    **state_fields(task_id, is_finished=True),
                    **_ended(ended or {}),
                },
                "$unset": {"open_since": 1},
            },
        )

    def to_be_removed(self, at: datetime, limit: int) -> list[TaskRow]:
        """Return at most `limit` finished tasks that are to be removed by that time."""
        due = {"remove_at": {"$gt": 0, "$lte": stamp(at)}}
        return [
            TaskRow.from_row(row) for row in self._rows.find(due).limit(limit).batch_size(limit + 1)
        ]

    def backlog(self) -> OpenWork:
        """Return the images and payload bytes of all tasks that are not finished."""
        found = self._rows.aggregate(
            [
                {"$match": {"open_since": {"$gt": 0}}},
                {
                    "$group": {
                        "_id": None,
                        "images": {"$sum": "$image_count"},
                        "bytes": {"$sum": "$payload_bytes"},
                    }
                },
            ]
        )
        return next((OpenWork(row["images"], row["bytes"]) for row in found), OpenWork(0, 0))

    def page(
        self,
        user: str,
        collection: str | None,
        before: str,
        limit: int,
        is_finished: bool | None = None,
    ) -> Page[TaskRow]:
        """Return a page of at most `limit` tasks of a user or a collection's key, newest first.

        `before` is a cursor, "" for the first page; it is the same for finished, unfinished and
        (with `is_finished` None) all tasks. Raises ValueError for a cursor of another list.
        """
        place_field, first = ("listing", user) if collection is None else ("task_id", collection)
        field, prefix = place_field, f"{first}/"
        moment = within(before, prefix).removeprefix(prefix)
        if is_finished is not None:
            # One string for both: the embedded server pages by a single indexed field only.
            field, prefix = f"state_{field}", f"{first}/{_STATES[is_finished]}/"
        span = {"$gt": prefix, "$lt": prefix + (moment or AFTER_DIGITS)}
        found = list(self._rows.find({field: span}).sort(field, -1).limit(limit + 1))
        rows, place = cut(found, limit, lambda row: str(row[place_field]))
        return Page([TaskRow.from_row(row) for row in rows], place)


def state_fields(task_id: str, *, is_finished: bool) -> dict[str, str]:
    """Return the fields by which a task is listed among those that are finished, or not."""
    collection, _, moment = task_id.rpartition("/")
    user, state = collection.partition("/")[0], _STATES[is_finished]
    return {
        "state_listing": _listing(f"{user}/{state}", int(moment.replace(".", ""))),
        "state_task_id": f"{collection}/{state}/{moment}",
    }


def _ended(outcomes: Mapping[int, str]) -> Row:
    return {f"ended.{label}": outcome for label, outcome in outcomes.items()}


def _listing(user: str, microseconds: int) -> str:
    return f"{user}/{microseconds:016d}"
