"""The migrations of rows from each schema version to the next."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta

from pymongo import UpdateOne
from pymongo.database import Database
from pymongo.errors import OperationFailure

from catalog.database.connection import Row, now, stamp
from catalog.rows.chunks import DUE_FIELDS, SENT_FIELDS, State
from catalog.rows.images import SUCCEEDED
from catalog.rows.tasks import state_fields

#: Changes rows and blobs of the version before to its own version. It must be idempotent, since
#: it runs again if it was killed halfway.
Migration = Callable[[Database[Row], Database[Row]], None]

#: Rows that a migration reads and changes at a time.
PAGE = 1000

#: How long finished tasks and deleted images of version 1 are kept. Migrations read no settings.
_KEPT_BY_2 = timedelta(days=7)

#: Indexes that no query uses from version 4 on.
_UNUSED_FROM_4 = (
    ("chunks", "due_at"),
    ("chunks", "sent_at"),
    ("image_names", "label"),
    ("tasks", "open_since"),
)

#: Error codes: the server has no such table, or no such index.
_NOT_THERE = (26, 27)


def _to_2(rows: Database[Row], blobs: Database[Row]) -> None:  # noqa: ARG001
    """Replace the count of images in products by labels, and set when rows may be removed."""
    for product in rows["products"].find({}, ["serial"]):
        images = rows["images"].find({"product_serial": product["serial"]})
        alive = [
            image["_id"]
            for image in images
            if image["deleted_at"] is None and image["outcome"] in (None, SUCCEEDED)
        ]
        rows["products"].update_one(
            {"_id": product["_id"]},
            {"$set": {"places": sorted(alive)}, "$unset": {"image_count": 1}},
        )
    moment = stamp(now())
    rows["collections"].update_many({}, {"$set": {"changes": 0, "recount_at": moment}})
    rows["tasks"].update_many({}, {"$set": {"payload_bytes": 0, "refusals": []}})
    rows["tasks"].update_many({"finished_at": None}, {"$set": {"open_since": moment}})
    later = stamp(now() + _KEPT_BY_2)
    rows["tasks"].update_many({"finished_at": {"$gt": 0}}, {"$set": {"remove_at": later}})
    rows["images"].update_many({"deleted_at": {"$gt": 0}}, {"$set": {"remove_at": later}})
    rows["chunks"].update_many({"state": {"$ne": State.SENT.value}}, {"$unset": {"sent_at": 1}})


def _to_3(rows: Database[Row], blobs: Database[Row]) -> None:  # noqa: ARG001
    """Write the model of its searches into every collection."""
    current = rows["models"].find_one({"_id": "current"})
    model_id = None if current is None else current["model_id"]
    rows["collections"].update_many({}, {"$set": {"model_id": model_id, "change": None}})


def _to_4(rows: Database[Row], blobs: Database[Row]) -> None:  # noqa: ARG001
    """Move the time of each chunk into the field of its state; drop unused indexes."""
    chunks = rows["chunks"]
    for state, field in DUE_FIELDS.items():
        chunks.update_many(
            {"due_at": {"$gt": 0}, "state": state.value},
            {"$rename": {"due_at": field}, "$unset": {"sent_at": 1}},
        )
    for stage, field in SENT_FIELDS.items():
        sent = {"state": State.SENT.value, "stage": stage.value}
        chunks.update_many(
            {"sent_at": {"$gt": 0}, **sent},
            {"$rename": {"sent_at": field}, "$unset": {"due_at": 1}},
        )
        chunks.update_many({"due_at": {"$gt": 0}, **sent}, {"$rename": {"due_at": field}})
    for table, field in _UNUSED_FROM_4:
        try:
            rows[table].drop_index([(field, 1)])
        except OperationFailure as error:
            if error.code not in _NOT_THERE:
                raise


def _to_5(rows: Database[Row], blobs: Database[Row]) -> None:  # noqa: ARG001
    """Write the fields by which tasks of one state are listed."""
    with rows["tasks"].find({}, ["finished_at", "state_listing", "submission_at"]) as found:
        # A submission gets them when it is opened.
        lacking = [
            (row["_id"], row["finished_at"] is not None)
            for row in found
            if "state_listing" not in row and "submission_at" not in row
        ]
    for start in range(0, len(lacking), PAGE):
        rows["tasks"].bulk_write(
            [
                UpdateOne({"_id": task_id}, {"$set": state_fields(task_id, is_finished=finished)})
                for task_id, finished in lacking[start : start + PAGE]
            ],
            ordered=False,
        )


def _to_6(rows: Database[Row], blobs: Database[Row]) -> None:
    """Change nothing; the version keeps releases away that do not write `shown_at`.

    A folder of snapshots with a checkpoint relies on that field for every later image.
    """


#: The migrations by the version that each makes; one for every version from 2 on.
MIGRATIONS: Mapping[int, Migration] = {2: _to_2, 3: _to_3, 4: _to_4, 5: _to_5, 6: _to_6}
