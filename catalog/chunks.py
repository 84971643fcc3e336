"""The chunks of tasks: which stage each is at, whose turn it is, and when to look after it.

Every change is one compare-and-set on (stage, attempt, state), so that a message
that comes twice, late, or from before a crash changes nothing. `due_at` says when
the sweep must look at a chunk that is not done: the end of a running stage's
lease, the time before which a waiting one must not start, or the moment from
which a message that nobody started may be taken for lost. One that is done keeps it
until the end of its task was looked to. `sent_at` stands in the rows of those alone
whose message nobody has started, so that the oldest of them is found by an index.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from pymongo import ReturnDocument

from catalog.connection import Row, Rows, insert_new, moment_or_none, now, stamp


class Stage(StrEnum):
    """The stages of a chunk, in their order; each is the name of its queue as well."""

    FETCH = "fetch"
    VISION = "vision"
    INDEX = "index"


class State(StrEnum):
    """What a chunk is doing in its stage."""

    WAITING = "waiting"  #: to be sent when it is due
    SENT = "sent"  #: a message is on its way
    RUNNING = "running"  #: a worker holds the lease
    DONE = "done"  #: every image has its outcome


@dataclass(frozen=True)
class Item:
    """An image of a chunk, by its label and by the names that its client knows."""

    label: int
    product_id: str
    product_serial: int
    image_id: str


@dataclass(frozen=True)
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
    unclean: int = 0  #: ends without a word: a killed worker, a lease that ran out
    passes: int = 0  #: fetch passes that ended in a fault that may go away
    sent_at: datetime | None = None
    due_at: datetime | None = None
    outcomes: tuple[str, ...] = ()  #: of each item, once it is done
    model_id: str | None = None  #: embeds images anew for this model; None: takes new ones in

    @property
    def labels(self) -> list[int]:
        """The labels of its images, in order."""
        return [item.label for item in self.items]


def _row(chunk: Chunk) -> Row:
    return {
        "_id": chunk.id,
        "task_id": chunk.task_id,
        "collection": chunk.collection,
        "generation": chunk.generation,
        "items": _items(chunk.items),
        "stage": chunk.stage.value,
        "state": chunk.state.value,
        "attempt": chunk.attempt,
        "unclean": chunk.unclean,
        "passes": chunk.passes,
        **({} if chunk.sent_at is None else {"sent_at": stamp(chunk.sent_at)}),
        **({} if chunk.due_at is None else {"due_at": stamp(chunk.due_at)}),
        **(
            {}
            if chunk.model_id is None
            else {"model_id": chunk.model_id, "change": chunk.generation}
        ),
    }


def _items(items: Sequence[Item]) -> list[list[int | str]]:
    return [[item.label, item.product_id, item.product_serial, item.image_id] for item in items]


def _of(row: Row) -> Chunk:
    return Chunk(
        row["_id"],
        row["task_id"],
        row["collection"],
        row["generation"],
        tuple(Item(*item) for item in row["items"]),
        Stage(row["stage"]),
        State(row["state"]),
        row["attempt"],
        row["unclean"],
        row["passes"],
        moment_or_none(row.get("sent_at")),
        moment_or_none(row.get("due_at")),
        tuple(row.get("outcomes", ())),
        row.get("model_id"),
    )


class Chunks:
    """The rows of chunks.

    `lease` is how long a running stage may be silent; a message that nobody
    started is looked at again after the same time.
    """

    def __init__(self, rows: Rows, lease: timedelta) -> None:
        self._rows = rows
        self._lease = lease

    def insert(self, chunks: Sequence[Chunk]) -> None:
        """Write chunks; one that is there already stays as it is."""
        insert_new(self._rows, [_row(chunk) for chunk in chunks])

    def as_sent(self, chunk: Chunk) -> Chunk:
        """Give the chunk as it is when its message leaves now."""
        sent_at = now()
        return replace(chunk, state=State.SENT, sent_at=sent_at, due_at=sent_at + self._lease)

    def find(self, ids: Sequence[str]) -> list[Chunk]:
        """Give the chunks that exist among `ids`."""
        return [_of(row) for row in self._rows.find({"_id": {"$in": list(ids)}})]

    def of_change(self, generation: str, limit: int) -> list[Chunk]:
        """Give at most `limit` chunks that embed images of a generation anew."""
        return [_of(row) for row in self._rows.find({"change": generation}).limit(limit)]

    def end(self, chunk: Chunk) -> bool:
        """Remove a chunk that is done with and was no task's; False where the lease is lost."""
        return self._rows.delete_one(self._held(chunk)).deleted_count == 1

    def claim(
        self, chunk_id: str, stage: Stage, attempt: int, holder: str | None = None
    ) -> Chunk | None:
        """Take the lease of a chunk whose message arrived; None where it is not to be worked on.

        Gives it with the time at which that message was sent. A `holder`, which is nobody
        else's, may claim again where the answer to its claim got lost.
        """
        due_at = now() + self._lease
        row = self._rows.find_one_and_update(
            {"_id": chunk_id, "stage": stage, "attempt": attempt, "state": State.SENT},
            {
                "$set": {"state": State.RUNNING, "due_at": stamp(due_at), "holder": holder},
                "$unset": {"sent_at": 1},
            },
            return_document=ReturnDocument.BEFORE,
        )
        if row is not None:
            return replace(_of(row), state=State.RUNNING, due_at=due_at)
        mine = holder and self._rows.find_one({"_id": chunk_id})
        if not mine or (mine.get("holder"), mine["stage"], mine["attempt"], mine["state"]) != (
            holder,
            stage,
            attempt,
            State.RUNNING,
        ):
            return None
        return _of(mine)

    def renew(self, chunk: Chunk) -> bool:
        """Renew the lease of a running chunk; False where somebody else has it by now."""
        renewed = self._rows.update_one(
            self._held(chunk), {"$set": {"due_at": stamp(now() + self._lease)}}
        )
        return renewed.matched_count == 1

    def advance(self, chunk: Chunk, stage: Stage, items: Sequence[Item]) -> Chunk | None:
        """Move a running chunk on to `stage` with `items`, as sent.

        Gives None where the lease is lost.
        """
        sent_at = now()
        return self._change(
            self._held(chunk),
            {
                "stage": stage,
                "state": State.SENT,
                "items": _items(items),
                "sent_at": stamp(sent_at),
                "due_at": stamp(sent_at + self._lease),
            },
        )

    def finish(self, chunk: Chunk, outcomes: Sequence[str]) -> bool:
        """Note how each item of a running chunk ended; False where the lease is lost.

        The sweep looks at it once more, unless it is settled before.
        """
        finished = self._rows.update_one(
            self._held(chunk),
            {
                "$set": {
                    "state": State.DONE,
                    "outcomes": list(outcomes),
                    "due_at": stamp(now() + self._lease),
                },
                "$unset": {"sent_at": 1},
            },
        )
        return finished.matched_count == 1

    def settle(self, chunk_id: str) -> None:
        """Note that nothing is left to be done about a chunk that is done."""
        self._rows.update_one({"_id": chunk_id, "state": State.DONE}, {"$unset": {"due_at": 1}})

    def remove(self, ids: Sequence[str]) -> None:
        """Remove the rows of chunks."""
        self._rows.delete_many({"_id": {"$in": list(ids)}})

    def oldest_sent(self) -> datetime | None:
        """Give when the oldest message was sent that nobody has started, None if there is none."""
        found = self._rows.find({"sent_at": {"$gt": 0}}, ["sent_at"]).sort("sent_at", 1).limit(1)
        return next((moment_or_none(row["sent_at"]) for row in found), None)

    def hand_back(self, chunk: Chunk, pause: timedelta, *, unclean: bool) -> Chunk | None:
        """Give up the lease: the chunk starts its stage again after `pause`."""
        return self._change(
            self._held(chunk),
            {
                "state": State.WAITING,
                "attempt": chunk.attempt + 1,
                "unclean": chunk.unclean + int(unclean),
                "due_at": stamp(now() + pause),
            },
        )

    def due(self, limit: int, at: datetime | None = None) -> list[Chunk]:
        """Give chunks that were to be looked at by that time, now if none is given."""
        due = {"due_at": {"$lte": stamp(at or now())}}
        return [_of(row) for row in self._rows.find(due).limit(limit)]

    def expire(self, chunk: Chunk) -> Chunk | None:
        """Take a chunk back whose lease ran out; None where it was renewed since."""
        return self._change(
            {**self._held(chunk), "due_at": chunk.due_at and stamp(chunk.due_at)},
            {
                "state": State.WAITING,
                "attempt": chunk.attempt + 1,
                "unclean": chunk.unclean + 1,
                "due_at": stamp(now()),
            },
        )

    def resend(
        self, chunk: Chunk, stage: Stage | None = None, items: Sequence[Item] | None = None
    ) -> Chunk | None:
        """Note that a waiting or lost chunk is sent (again), under a new attempt."""
        sent_at = now()
        return self._change(
            self._held(chunk),
            {
                "stage": stage or chunk.stage,
                "state": State.SENT,
                "attempt": chunk.attempt + 1,
                "items": _items(chunk.items if items is None else items),
                "sent_at": stamp(sent_at),
                "due_at": stamp(sent_at + self._lease),
            },
        )

    def look_again(self, chunks: Sequence[Chunk]) -> None:
        """Note that the messages of these sent chunks are not taken for lost yet."""
        self._rows.update_many(
            {"_id": {"$in": [chunk.id for chunk in chunks]}, "state": State.SENT},
            {"$set": {"due_at": stamp(now() + self._lease)}},
        )

    def unsent(self, chunks: Sequence[Chunk]) -> None:
        """Note that the messages of these chunks could not be sent."""
        self._rows.update_many(
            {"_id": {"$in": [chunk.id for chunk in chunks]}, "state": State.SENT},
            {"$set": {"state": State.WAITING, "due_at": stamp(now())}},
        )

    @staticmethod
    def _held(chunk: Chunk) -> Row:
        return {
            "_id": chunk.id,
            "stage": chunk.stage,
            "attempt": chunk.attempt,
            "state": chunk.state,
        }

    def _change(self, expected: Row, values: Row) -> Chunk | None:
        row = self._rows.find_one_and_update(
            expected, {"$set": values}, return_document=ReturnDocument.AFTER
        )
        return None if row is None else _of(row)
