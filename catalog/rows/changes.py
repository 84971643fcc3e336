"""The change of a collection from one model to another.

It is part of the row of the collection, which every stage reads. So what a stage sees is
consistent, the switch is one write, and deleting a collection deletes its change.

A change is RUNNING while vectors of the target are made, and WAITING if some images can't have
one and the operator has not accepted their loss. Once it is SWITCHED or CANCELLED, the vectors
of the model that is given up are removed, and then the change ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from pymongo import ReturnDocument

from catalog.database.connection import Row, Rows, moment, now, stamp


class ChangeState(StrEnum):
    """How far a change is."""

    RUNNING = "running"  #: vectors of the target are made; searches use the source
    WAITING = "waiting"  #: as before, but for images that would be lost
    SWITCHED = "switched"  #: searches use the target; vectors of the source go
    CANCELLED = "cancelled"  #: searches use the source; vectors of the target go


#: The cursor after the last product of a collection.
END = "end"


@dataclass(frozen=True, kw_only=True)
class Change:
    """The change of a collection as its row says."""

    collection: str  #: the key of the collection
    generation: str
    source: str  #: the model that searches used when the change began
    target: str
    state: ChangeState
    place: str  #: the cursor in the list of products; "" at first, END at last
    seen: int  #: images of the products up to that cursor
    image_count: int  #: of the collection
    accepts_losses: bool
    begun_at: datetime

    @property
    def leaving(self) -> str:
        """The model whose vectors are removed at the end of the change."""
        return self.target if self.state is ChangeState.CANCELLED else self.source

    @classmethod
    def from_row(cls, row: Row) -> Change:
        """Return the change in the row of a collection; the row must have one."""
        change = row["change"]
        return cls(
            collection=row["_id"],
            generation=row["generation"],
            source=change["source"],
            target=change["target"],
            state=ChangeState(change["state"]),
            place=change["place"],
            seen=change["seen"],
            image_count=row["image_count"],
            accepts_losses=change["accepts_losses"],
            begun_at=moment(change["begun_at"]),
        )


class Changes:
    """The changes in the rows of collections; every write is one compare-and-set."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def find(self, collection: str, generation: str | None = None) -> Change | None:
        """Return the change of the collection with that key, None if it has none.

        Return None as well if a generation is given and the collection has another by now.
        """
        row = self._rows.find_one({"_id": collection})
        if row is None or row.get("change") is None:
            return None
        return None if generation not in (None, row["generation"]) else Change.from_row(row)

    def due(self, limit: int) -> list[Change]:
        """Return at most `limit` changes that are to be worked on now."""
        rows = self._rows.find({"change_at": {"$lte": stamp(now())}}).limit(limit)
        return [Change.from_row(row) for row in rows if row.get("change") is not None]

    def begin(self, collection: str, source: str, target: str, *, accept_losses: bool) -> bool:
        """Begin a change; return False if the collection is gone or has another model or change."""
        change = {
            "source": source,
            "target": target,
            "state": ChangeState.RUNNING.value,
            "place": "",
            "seen": 0,
            "accepts_losses": accept_losses,
            "begun_at": stamp(now()),
        }
        begun = self._rows.update_one(
            {"_id": collection, "model_id": source, "change": None},
            {"$set": {"change": change, "change_at": stamp(now())}},
        )
        return begun.matched_count == 1

    def advance(self, change: Change, place: str, seen: int) -> Change | None:
        """Move the cursor and add `seen`; return None if the change or its cursor is another."""
        row = self._rows.find_one_and_update(
            {**_held(change), "change.place": change.place},
            {"$set": {"change.place": place}, "$inc": {"change.seen": seen}},
            return_document=ReturnDocument.AFTER,
        )
        return None if row is None else Change.from_row(row)

    def start_over(self, change: Change) -> None:
        """Set the cursor back to the first product."""
        self._rows.update_one(_held(change), {"$set": {"change.place": "", "change.seen": 0}})

    def wait(self, change: Change) -> None:
        """Make a change wait for the operator's decision about its lost images."""
        self._rows.update_one(_held(change), {"$set": {"change.state": ChangeState.WAITING.value}})

    def go_on(self, change: Change, *, accept_losses: bool) -> bool:
        """Run a change again from the first product; return False if its state is another."""
        gone_on = self._rows.update_one(
            _held(change),
            {
                "$set": {
                    "change.state": ChangeState.RUNNING.value,
                    "change.place": "",
                    "change.seen": 0,
                    "change.accepts_losses": accept_losses,
                    "change_at": stamp(now()),
                }
            },
        )
        return gone_on.matched_count == 1

    def claim_for_index(self, change: Change, epoch: int) -> None:
        """Stamp the epoch of an index owner on a change, before it may switch or end it.

        A higher epoch stays. After this call, the caller must check that it still is the owner.
        """
        self._rows.update_one(_held(change), {"$max": {"change.index_epoch": epoch}})

    def take_over(self, epoch: int) -> None:
        """Stamp the epoch of a new index owner on every change that has a lower one."""
        self._rows.update_many(
            {"change_at": {"$gte": 0}, "change.index_epoch": {"$lt": epoch}},
            {"$set": {"change.index_epoch": epoch}},
        )

    def switch(self, change: Change, grace: timedelta, epoch: int | None = None) -> bool:
        """Make searches use the target from now on; return False if the change is another.

        Return False as well if an `epoch` is given and the change has another stamp. The vectors
        of the source stay for `grace`, for searches under way.
        """
        return self._leave(change, change.target, ChangeState.SWITCHED, grace, epoch=epoch)

    def cancel(self, change: Change) -> bool:
        """Make searches keep using the source; return False if the change is another by now."""
        return self._leave(change, change.source, ChangeState.CANCELLED, timedelta(0))

    def _leave(
        self,
        change: Change,
        model_id: str,
        state: ChangeState,
        grace: timedelta,
        epoch: int | None = None,
    ) -> bool:
        left = self._rows.update_one(
            _held(change, epoch),
            {
                "$set": {
                    "model_id": model_id,
                    "change.state": state.value,
                    "change.place": "",
                    "change_at": stamp(now() + grace),
                }
            },
        )
        return left.matched_count == 1

    def end(self, change: Change, epoch: int | None = None) -> bool:
        """Remove a change that is done; return False if it is another by now.

        Return False as well if an `epoch` is given and the change has another stamp.
        """
        ended = self._rows.update_one(
            _held(change, epoch), {"$set": {"change": None}, "$unset": {"change_at": 1}}
        )
        return ended.matched_count == 1


def _held(change: Change, epoch: int | None = None) -> Row:
    held = {
        "_id": change.collection,
        "generation": change.generation,
        "change.target": change.target,
        "change.state": change.state.value,
        "change.begun_at": stamp(change.begun_at),
    }
    return held if epoch is None else {**held, "change.index_epoch": epoch}
