"""The chunks of tasks: the stage and state of each, and when the sweep is to look at it.

Every change is one compare-and-set on (stage, attempt, state), so that a message
that comes twice, late, or from before a crash changes nothing.

A chunk has one time, in a field that tells what the time means, so that the sweep finds each
kind by an index of its own, however many there are of the others: `lease_until` while it runs,
`start_at` while it waits, `settle_at` once it is done and until `settle` is called, and the
time of sending, in a field of its stage, while its message is on the way. A sent chunk is never
due by itself: it is lost if the queue has moved past it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from pymongo import ReturnDocument

from catalog.database.connection import (
    Row,
    Rows,
    delete_by_id,
    find_by_id,
    insert_new,
    moment,
    moment_or_none,
    now,
    stamp,
)


class Stage(StrEnum):
    """The stages of a chunk, in their order; each value is the name of its queue."""

    FETCH = "fetch"
    VISION = "vision"
    INDEX = "index"


#: The fields of the sending time of a chunk whose message is not started yet, by stage.
SENT_FIELDS = {stage: f"{stage.value}_sent_at" for stage in Stage}


class State(StrEnum):
    """What a chunk is doing in its stage."""

    WAITING = "waiting"  #: to be sent when it is due
    SENT = "sent"  #: a message is on its way
    RUNNING = "running"  #: a worker holds the lease
    DONE = "done"  #: every image has its outcome


#: The fields of the time when the sweep is to look at a chunk, by its state.
DUE_FIELDS = {
    State.RUNNING: "lease_until",
    State.WAITING: "start_at",
    State.DONE: "settle_at",
}

#: All fields of times; a chunk has one of them at most.
TIME_FIELDS = (*DUE_FIELDS.values(), *SENT_FIELDS.values())


@dataclass(frozen=True, kw_only=True)
class Item:
    """An image of a chunk: its label, and the ids that its client knows."""

    label: int
    product_id: str
    product_serial: int
    image_id: str

    @classmethod
    def from_row(cls, values: Sequence[Any]) -> Item:
        """Return the item of an entry in the row of a chunk."""
        label, product_id, product_serial, image_id = values
        return cls(
            label=label, product_id=product_id, product_serial=product_serial, image_id=image_id
        )

    def to_row(self) -> list[int | str]:
        """Return the entry of the item in the row of its chunk."""
        return [self.label, self.product_id, self.product_serial, self.image_id]


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """A chunk as its row says."""

    id: str
    task_id: str
    collection: str
    generation: str
    items: tuple[Item, ...]
    stage: Stage
    state: State = State.SENT
    attempt: int = 1
    unclean: int = 0  #: unclean ends: leases that ran out, and faults in a stage
    passes: int = 0  #: fetch passes that ended in a fault that may go away
    sent_at: datetime | None = None  #: when its message was sent, if that is not started yet
    due_at: datetime | None = None  #: when to look at it, unless it was just sent
    outcomes: tuple[str, ...] = ()  #: of each item, once it is done
    model_id: str | None = None  #: the model of a change; None for a chunk of new images
    waits: tuple[tuple[int, str], ...] = ()  #: labels of images not fetched yet, each with why
    put_off_at: datetime | None = None  #: when its images were first put off for a host's sake

    @property
    def labels(self) -> list[int]:
        """The labels of the images of this chunk, in order."""
        return [item.label for item in self.items]

    @classmethod
    def from_row(cls, row: Row) -> Chunk:
        """Return the chunk of a row."""
        stage, state = Stage(row["stage"]), State(row["state"])
        at = moment_or_none(row.get(_time_field(stage, state)))
        sent_at, due_at = (at, None) if state is State.SENT else (None, at)
        return cls(
            id=row["_id"],
            task_id=row["task_id"],
            collection=row["collection"],
            generation=row["generation"],
            items=tuple(Item.from_row(item) for item in row["items"]),
            stage=stage,
            state=state,
            attempt=row["attempt"],
            unclean=row["unclean"],
            passes=row["passes"],
            sent_at=sent_at,
            due_at=due_at,
            outcomes=tuple(row.get("outcomes", ())),
            model_id=row.get("model_id"),
            waits=tuple((label, reason) for label, reason in row.get("waits", ())),
            put_off_at=moment_or_none(row.get("put_off_at")),
        )

    def to_row(self) -> Row:
        """Return the row of a chunk."""
        return {
            "_id": self.id,
            "task_id": self.task_id,
            "collection": self.collection,
            "generation": self.generation,
            "items": _items(self.items),
            "stage": self.stage.value,
            "state": self.state.value,
            "attempt": self.attempt,
            "unclean": self.unclean,
            "passes": self.passes,
            **({"waits": list(map(list, self.waits))} if self.waits else {}),
            **({} if self.put_off_at is None else {"put_off_at": stamp(self.put_off_at)}),
            **_times(self),
            **(
                {}
                if self.model_id is None
                else {"model_id": self.model_id, "change": self.generation}
            ),
        }


def _time_field(stage: Stage, state: State) -> str:
    return SENT_FIELDS[stage] if state is State.SENT else DUE_FIELDS[state]


def _times(chunk: Chunk) -> Row:
    at = chunk.sent_at if chunk.state is State.SENT else chunk.due_at
    return {} if at is None else {_time_field(chunk.stage, chunk.state): stamp(at)}


def _to(stage: Stage, state: State, at: datetime, **values: object) -> Row:
    """Return the update that sets stage and state, and replaces the time by that of the state."""
    field = _time_field(stage, state)
    return {
        "$set": {"stage": stage.value, "state": state.value, field: stamp(at), **values},
        "$unset": {other: 1 for other in TIME_FIELDS if other != field},
    }


def _items(items: Sequence[Item]) -> list[list[int | str]]:
    return [item.to_row() for item in items]


class Chunks:
    """The rows of chunks."""

    def __init__(self, rows: Rows, lease: timedelta) -> None:
        """Take the duration of the lease of a running chunk."""
        self._rows = rows
        self._lease = lease

    def insert(self, chunks: Sequence[Chunk]) -> None:
        """Write chunks; one whose id exists already stays as it is."""
        insert_new(self._rows, [chunk.to_row() for chunk in chunks])

    def as_sent(self, chunk: Chunk) -> Chunk:
        """Return the chunk as its row is once it is marked as sent now; writes nothing."""
        return replace(chunk, state=State.SENT, sent_at=now(), due_at=None)

    def mark_sent(self, chunks: Sequence[Chunk]) -> None:
        """Mark waiting chunks of the first attempt as sent now.

        A chunk that the sweep has started meanwhile has another attempt, and stays as it is.
        """
        for stage in Stage:
            ids = [chunk.id for chunk in chunks if chunk.stage is stage]
            if ids:
                waiting = {"_id": {"$in": ids}, "state": State.WAITING.value, "attempt": 1}
                self._rows.update_many(waiting, _to(stage, State.SENT, now()))

    def find(self, ids: Sequence[str]) -> list[Chunk]:
        """Return the chunks with these ids, in this order; missing ones are left out."""
        return [Chunk.from_row(row) for row in find_by_id(self._rows, ids).values()]

    def of_change(self, generation: str, limit: int) -> list[Chunk]:
        """Return at most `limit` chunks of a change of the model of a generation."""
        return [Chunk.from_row(row) for row in self._rows.find({"change": generation}).limit(limit)]

    def remove_held(self, chunk: Chunk) -> bool:
        """Remove a chunk that belongs to no task; return False if the lease is lost."""
        return self._rows.delete_one(self._held(chunk)).deleted_count == 1

    def claim(
        self, chunk_id: str, stage: Stage, attempt: int, holder: str | None = None
    ) -> Chunk | None:
        """Take the lease of a chunk whose message arrived.

        Return the chunk, with the sending time of that message; None if the chunk is gone, or at
        another stage, attempt or state. A `holder`, an id that no other claim has, may claim
        again if the answer to its claim was lost.
        """
        due_at = now() + self._lease
        row = self._rows.find_one_and_update(
            {"_id": chunk_id, "stage": stage.value, "attempt": attempt, "state": State.SENT.value},
            _to(stage, State.RUNNING, due_at, holder=holder),
            return_document=ReturnDocument.BEFORE,
        )
        if row is not None:
            return replace(Chunk.from_row(row), state=State.RUNNING, due_at=due_at)
        mine = holder and self._rows.find_one({"_id": chunk_id})
        if not mine or (mine.get("holder"), mine["stage"], mine["attempt"], mine["state"]) != (
            holder,
            stage,
            attempt,
            State.RUNNING,
        ):
            return None
        return Chunk.from_row(mine)

    def renew(self, chunk: Chunk) -> bool:
        """Renew the lease of a running chunk; return False if the lease is lost."""
        until = stamp(now() + self._lease)
        renewed = self._rows.update_one(
            self._held(chunk), {"$set": {DUE_FIELDS[State.RUNNING]: until}}
        )
        return renewed.matched_count == 1

    def advance(self, chunk: Chunk, stage: Stage, items: Sequence[Item]) -> Chunk | None:
        """Mark a running chunk as sent to `stage` with `items`; None if the lease is lost."""
        sent = _to(stage, State.SENT, now(), items=_items(items))
        # One that comes back for its bytes has not waited for a host yet.
        sent["$unset"] |= {"waits": 1, "put_off_at": 1}
        return self._change(self._held(chunk), sent)

    def keep(self, chunk: Chunk, items: Sequence[Item]) -> Chunk | None:
        """Let a running chunk go on with these of its items alone; None if the lease is lost."""
        return self._change(self._held(chunk), {"$set": {"items": _items(items)}})

    def finish(self, chunk: Chunk, outcomes: Sequence[str]) -> bool:
        """Mark a running chunk as done, with the outcome of each item.

        Return False if the lease is lost. The sweep handles the chunk after a lease, unless
        `settle` is called before.
        """
        finished = self._rows.update_one(
            self._held(chunk),
            _to(chunk.stage, State.DONE, now() + self._lease, outcomes=list(outcomes)),
        )
        return finished.matched_count == 1

    def settle(self, chunk_id: str) -> None:
        """Note that a done chunk needs no further work: the sweep leaves it alone."""
        self._rows.update_one(
            {"_id": chunk_id, "state": State.DONE.value}, {"$unset": {DUE_FIELDS[State.DONE]: 1}}
        )

    def remove(self, ids: Sequence[str]) -> None:
        """Remove the rows of chunks."""
        delete_by_id(self._rows, ids)

    def oldest_sent(self) -> datetime | None:
        """Return when the oldest message that is not started was sent, None if there is none."""
        oldest = [
            row[field]
            for field in SENT_FIELDS.values()
            for row in self._rows.find({field: {"$gt": 0}}, [field]).sort(field, 1).limit(1)
        ]
        return moment(min(oldest)) if oldest else None

    def hand_back(self, chunk: Chunk, pause: timedelta, *, unclean: bool) -> Chunk | None:
        """Release the lease; the chunk starts its stage again after `pause`.

        `unclean` counts it as an unclean end. Return the chunk as it is then, None if the lease
        is lost.
        """
        return self._start_again(self._held(chunk), chunk, now() + pause, unclean=unclean)

    def put_back(
        self,
        chunk: Chunk,
        start: datetime,
        passes: int,
        waits: Mapping[int, str],
        put_off_at: datetime | None = None,
    ) -> Chunk | None:
        """Release the lease; the chunk is fetched again at `start`, after so many `passes`.

        `waits` says why, by label. Return the chunk as it is then, None if the lease is lost.
        """
        values = {
            "passes": passes,
            "waits": list(map(list, waits.items())),
            "put_off_at": None if put_off_at is None else stamp(put_off_at),
        }
        return self._start_again(self._held(chunk), chunk, start, unclean=False, **values)

    def expire(self, chunk: Chunk) -> Chunk | None:
        """Make a chunk whose lease ran out start its stage again at once, as an unclean end.

        Return the chunk as it is then, None if the lease was renewed since it was read.
        """
        seen = {DUE_FIELDS[State.RUNNING]: chunk.due_at and stamp(chunk.due_at)}
        return self._start_again({**self._held(chunk), **seen}, chunk, now(), unclean=True)

    def due(self, state: State, limit: int, at: datetime) -> list[Chunk]:
        """Return at most `limit` chunks in a state other than sent that are due at `at`.

        The one that has been due longest comes first.
        """
        field = DUE_FIELDS[state]
        found = self._rows.find({field: {"$gt": 0, "$lte": stamp(at)}}).sort(field, 1).limit(limit)
        return [Chunk.from_row(row) for row in found.batch_size(limit + 1)]

    def unstarted(self, stage: Stage, before: datetime, limit: int) -> list[Chunk]:
        """Return chunks sent to a stage before that time and not started yet, oldest first."""
        field = SENT_FIELDS[stage]
        sent = {field: {"$gt": 0, "$lt": stamp(before)}}
        found = self._rows.find(sent).sort(field, 1).limit(limit)
        return [Chunk.from_row(row) for row in found.batch_size(limit + 1)]

    def put_off(self, chunk: Chunk) -> None:
        """Make a due chunk that could not be handled due again after a lease."""
        later = {DUE_FIELDS[chunk.state]: stamp(now() + self._lease)}
        self._rows.update_one(self._held(chunk), {"$set": later})

    def resend(
        self, chunk: Chunk, stage: Stage | None = None, items: Sequence[Item] | None = None
    ) -> Chunk | None:
        """Mark a waiting or lost chunk as sent under a new attempt, to another stage if given.

        Return the chunk as it is then, None if it has changed since it was read.
        """
        kept = _items(chunk.items if items is None else items)
        sent = _to(stage or chunk.stage, State.SENT, now(), attempt=chunk.attempt + 1, items=kept)
        return self._change(self._held(chunk), sent)

    def unsent(self, chunks: Sequence[Chunk]) -> None:
        """Mark sent chunks whose messages could not be sent as waiting, due at once."""
        for stage in Stage:
            ids = [chunk.id for chunk in chunks if chunk.stage is stage]
            if ids:
                sent = {"_id": {"$in": ids}, "state": State.SENT.value, "stage": stage.value}
                self._rows.update_many(sent, _to(stage, State.WAITING, now()))

    @staticmethod
    def _held(chunk: Chunk) -> Row:
        return {
            "_id": chunk.id,
            "stage": chunk.stage.value,
            "attempt": chunk.attempt,
            "state": chunk.state.value,
        }

    def _start_again(
        self, expected: Row, chunk: Chunk, start: datetime, *, unclean: bool, **values: object
    ) -> Chunk | None:
        values |= {"attempt": chunk.attempt + 1, "unclean": chunk.unclean + int(unclean)}
        return self._change(expected, _to(chunk.stage, State.WAITING, start, **values))

    def _change(self, expected: Row, update: Row) -> Chunk | None:
        row = self._rows.find_one_and_update(expected, update, return_document=ReturnDocument.AFTER)
        return None if row is None else Chunk.from_row(row)
