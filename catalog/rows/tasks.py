"""The tasks: what a client was told to poll, and the chunks that do the work."""

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

#: Sorts after every digit.
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
    ending: Ending | None = None  #: None as long as an image is pending
    refusals: tuple[Row, ...] = ()  #: what its client was told of images that it did not take
    #: Outcomes by label that no row of an image tells any more, of chunks that were not done then.
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
    """A task whose images are being written, of which its client does not know yet.

    Each image is (label, claim of its name, product_id).
    """

    task_id: str
    collection: str
    generation: str
    images: tuple[tuple[int, str, str], ...]
    due_at: datetime

    @property
    def is_overdue(self) -> bool:
        """Whether whoever wrote it must be taken for dead."""
        return self.due_at <= now()

    @classmethod
    def from_row(cls, row: Row) -> Submission:
        """Return the submission of a task's row, which has one."""
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
    """What stands under a task id."""

    TASK = auto()
    SUBMISSION = auto()  #: under way, or to be undone
    NOTHING = auto()


@dataclass(frozen=True)
class OpenWork:
    """What the tasks that are not finished hold."""

    images: int
    payload_bytes: int


def user_of(task_id: str) -> str | None:
    """Return the user that a well-formed task id names, None for a malformed one."""
    match = _TASK_ID.fullmatch(task_id)
    return None if match is None else match["user"]


class Tasks:
    """The rows of tasks; `_id` is the task id.

    A task begins as a submission: nobody is told of it before it is opened, and one that
    is not opened in time is rolled back.
    """

    def __init__(self, rows: Rows, times: Durations) -> None:
        """Take from `times` when a submission was cut off, and how long a finished task stays."""
        self._rows = rows
        self._times = times

    def begin(
        self,
        user: str,
        collection: str,
        generation: str,
        images: Sequence[tuple[int, str, str]],
    ) -> Submission:
        """Write a submission of images to a collection's key, under an id that is nobody else's."""
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
        """Make a submission a task; None where it was taken for cut off meanwhile."""
        seconds = submission.task_id.rpartition("/")[2].replace(".", "")
        row = self._rows.find_one_and_update(
            {"_id": submission.task_id, "submission_at": stamp(submission.due_at)},
            {
                "$set": {
                    # Once more: the embedded server reads every row for a range of _id.
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
        """Return the submission of that id, if it is there and was not opened."""
        row = self._rows.find_one({"_id": task_id})
        return None if row is None or "submission" not in row else Submission.from_row(row)

    def standing(self, task_id: str) -> Standing:
        """Return whether there is a task, a submission or nothing of that id."""
        row = self._rows.find_one({"_id": task_id}, ["submission_at"])
        if row is None:
            return Standing.NOTHING
        return Standing.SUBMISSION if "submission_at" in row else Standing.TASK

    def overdue_submissions(self, limit: int) -> list[Submission]:
        """Return submissions that were cut off."""
        found = self._rows.find({"submission_at": {"$lte": stamp(now())}}).limit(limit)
        return [Submission.from_row(row) for row in found]

    def unopened(self) -> list[Submission]:
        """Return all submissions that are under way, or were cut off and are still to be undone."""
        return [Submission.from_row(row) for row in self._rows.find({"submission_at": {"$gt": 0}})]

    def take_back(self, submission: Submission) -> Submission | None:
        """Keep a submission from ever being opened; None where it was, or is taken back already.

        Whoever does so has as much time to undo it as a submission has.
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
        """Note chunks of a task; those that it has already are not noted twice."""
        self._rows.update_one(
            {"_id": task_id}, {"$addToSet": {"chunk_ids": {"$each": list(chunk_ids)}}}
        )

    def find(self, task_id: str) -> TaskRow | None:
        """Return the task, or None."""
        row = self._rows.find_one({"_id": task_id})
        return None if row is None or "submission" in row else TaskRow.from_row(row)

    def unfinished(self, task_ids: Sequence[str]) -> set[str]:
        """Return those among `task_ids` whose end is not noted."""
        found = find_by_id(self._rows, task_ids, ["finished_at"])
        return {task_id for task_id, row in found.items() if row["finished_at"] is None}

    def note_ended(self, task_id: str, outcomes: Mapping[int, str]) -> None:
        """Keep the outcomes of images, by label, whose rows are about to go."""
        self._rows.update_one({"_id": task_id}, {"$set": _ended(outcomes)})

    def finish(
        self, task_id: str, succeeded: int, failed: int, ended: Mapping[int, str] | None = None
    ) -> None:
        """Note how a task ended whose images all have their outcome; the first note stays.

        `ended` are the outcomes, by label, of images whose chunks are not done.
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
        """Return finished tasks that are to be forgotten by that time."""
        due = {"remove_at": {"$gt": 0, "$lte": stamp(at)}}
        return [
            TaskRow.from_row(row) for row in self._rows.find(due).limit(limit).batch_size(limit + 1)
        ]

    def backlog(self) -> OpenWork:
        """Return what the tasks hold that are not finished."""
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
        """Return at most `limit` tasks of a user, or of a collection's key, newest first.

        `before` is where the page before ended, empty at the start, and the same whether
        finished tasks, unfinished ones or, with None, both are asked for. Raises ValueError for
        a place of another list.
        """
        place_field, first = ("listing", user) if collection is None else ("task_id", collection)
        field, prefix = place_field, f"{first}/"
        moment = within(before, prefix).removeprefix(prefix)
        if is_finished is not None:
            # A string of its own: the embedded server pages by a single indexed field only.
            field, prefix = f"state_{field}", f"{first}/{_STATES[is_finished]}/"
        span = {"$gt": prefix, "$lt": prefix + (moment or AFTER_DIGITS)}
        found = list(self._rows.find({field: span}).sort(field, -1).limit(limit + 1))
        rows, place = cut(found, limit, lambda row: str(row[place_field]))
        return Page([TaskRow.from_row(row) for row in rows], place)


def state_fields(task_id: str, *, is_finished: bool) -> dict[str, str]:
    """Return the fields by which a task is listed with those of its state alone."""
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
