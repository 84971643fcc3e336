"""The rows that a restore writes for the rows of a backup, table by table.

Derived data is computed anew: names, product slots, counters and times of work. A table is made
in pages; a page that is made a second time has rows of the same ids.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pymongo.database import Database

from catalog.backup.consistent_rows import ConsistentRows, Source
from catalog.backup.dumping import BLOBS
from catalog.database.connection import Row, Rows, find_by_id, now, stamp
from catalog.rows.chunks import DUE_FIELDS, TIME_FIELDS, State
from catalog.rows.claims import name_key
from catalog.rows.counters import without_recount
from catalog.rows.images import SUCCEEDED
from catalog.rows.products import ProductFields, product_key
from catalog.rows.tasks import state_fields

#: Documents of a backup read at a time; fewer if they are large.
PAGE = 500

#: Tasks read at a time, each with a dozen chunks.
TASK_PAGE = 50

#: Rows to be written, each list with its table.
Written = Sequence[tuple[Rows, list[Row]]]


@dataclass(frozen=True)
class Step:
    """A table of the backup, and the function that makes rows of a page of its documents."""

    table: str
    make: Callable[[list[Row]], Written]
    page: int = PAGE


class RestoredRows:
    """The steps of a restore into a database of rows and one of blobs."""

    def __init__(
        self,
        rows: Database[Row],
        blobs: Database[Row],
        source: Source,
        consistent: ConsistentRows,
        catalogues: tuple[str, str],
    ) -> None:
        """Take in `catalogues` the id of the catalogue that was backed up, and the new one's."""
        self._rows = rows
        self._blobs = blobs
        self._source = source
        self._consistent = consistent
        # Redis may hold results of work done after the backup under the old chunk ids.
        self._old_chunk, self._new_chunk = (f"chunk-{catalogue}-" for catalogue in catalogues)

    def steps(self) -> list[Step]:
        """Return the steps in order; each may read what those before it have written."""
        made: dict[str, Callable[[Row], Row | None]] = {
            "products": self._product,
            "image_contents": lambda row: row if self._consistent.is_living(row["label"]) else None,
            "chunks": self._chunk,
            "keys": self._key,
            "models": _unchanged,
            "users": _User(self._consistent),
            "accounts": _unchanged,
            "access_keys": _unchanged,
            "collections": self._collection,
        }
        steps = {table: Step(table, _each(self._rows[table], make)) for table, make in made.items()}
        steps["images"] = Step("images", self._images)
        steps["tasks"] = Step("tasks", self._tasks, TASK_PAGE)
        order = (
            *("products", "images", "image_contents", "chunks", "tasks", "keys", "models"),
            *("users", "accounts", "access_keys", "collections"),
        )
        blobs = [Step(table, _each(self._blobs[table], self._blob)) for table in BLOBS]
        return [*blobs, *(steps[table] for table in order)]

    def _blob(self, row: Row) -> Row | None:
        return row if self._consistent.is_living(abs(row["_id"])) else None

    def _product(self, row: Row) -> Row | None:
        if not self._consistent.is_living_product(row):
            return None
        # Its images are written with its present fields, so no copy is due.
        return _without(row, "copy_at") | {
            "places": self._consistent.labels_in_slots(row["serial"])
        }

    def _images(self, page: list[Row]) -> Written:
        """Make the living images with their names, and the dead ones of open chunks."""
        consistent = self._consistent
        living = [row for row in page if consistent.is_living(row["_id"])]
        keys = {product_key(row["generation"], row["product_id"]) for row in living}
        products = find_by_id(self._rows["products"], list(keys))
        images = [
            _living(row, products[product_key(row["generation"], row["product_id"])])
            for row in living
        ]
        images += [
            _dead(row)
            for row in page
            if consistent.is_on_its_way(row["_id"]) and not consistent.is_living(row["_id"])
        ]
        names: list[Row] = [
            {"_id": name_key(row["generation"], row["image_id"]), "label": row["_id"]}
            for row in living
        ]
        return [(self._rows["images"], images), (self._rows["image_names"], names)]

    def _chunk(self, row: Row) -> Row | None:
        """Return the chunk, None unless its task is whole; an open one waits to be sent."""
        if not self._consistent.is_whole_task(row["task_id"]):
            return None
        chunk = row | {"_id": self._chunk_id(row["_id"])}
        if row["state"] != State.DONE:
            # The last two occur in backups from before schema version 4.
            times = (*TIME_FIELDS, "due_at", "sent_at")
            waiting = {"state": State.WAITING.value, DUE_FIELDS[State.WAITING]: stamp(now())}
            chunk = _without(chunk, *times) | waiting
        return chunk

    def _chunk_id(self, chunk_id: str) -> str:
        return self._new_chunk + chunk_id.removeprefix(self._old_chunk)

    def _tasks(self, page: list[Row]) -> Written:
        """Make the whole tasks, each with those of its chunks that were restored.

        A task that ended after its chunks were read is open again.
        """
        whole = [row for row in page if self._consistent.is_whole_task(row["_id"])]
        for row in whole:
            row["chunk_ids"] = [self._chunk_id(each) for each in row["chunk_ids"]]
        chunk_ids = [each for row in whole for each in row["chunk_ids"]]
        states = find_by_id(self._rows["chunks"], chunk_ids, ["state"])
        tasks = []
        for row in whole:
            row["chunk_ids"] = [each for each in row["chunk_ids"] if each in states]
            is_open = any(states[each]["state"] != State.DONE for each in row["chunk_ids"])
            tasks.append(_open(row) if is_open else row)
        return [(self._rows["tasks"], tasks)]

    def _key(self, row: Row) -> Row | None:
        """Return the idempotency key, None unless its task is restored."""
        is_kept = row["task_id"] is not None and self._consistent.is_whole_task(row["task_id"])
        return row if is_kept else None

    def _collection(self, row: Row) -> Row:
        change = row.get("change") and _without(row["change"], "index_epoch")
        return without_recount(row) | {
            # The chunks of a change are not in the backup.
            **({} if change is None else {"change": change | {"place": "", "seen": 0}}),
            "product_count": self._consistent.product_counts[row["generation"]],
            "image_count": self._consistent.image_counts[row["generation"]],
        }


class _User:
    """Makes the row of a user with the names of the restored collections, in their order."""

    def __init__(self, consistent: ConsistentRows) -> None:
        self._alive: dict[str, list[str]] = {}
        for key in consistent.collections.values():
            user, _, name = key.partition("/")
            self._alive.setdefault(user, []).append(name)

    def __call__(self, row: Row) -> Row:
        here = self._alive.get(row["_id"], [])
        noted = [name for name in row["collections"] if name in here]
        # A name without a collection is of one that was being deleted or created.
        return row | {"collections": noted + [name for name in here if name not in noted]}


def _each(rows: Rows, make: Callable[[Row], Row | None]) -> Callable[[list[Row]], Written]:
    """Return the function that makes a page by calling `make` for each row, without its Nones."""

    def page_of(page: list[Row]) -> Written:
        return [(rows, [made for row in page if (made := make(row)) is not None])]

    return page_of


def _unchanged(row: Row) -> Row:
    return row


def _living(row: Row, product: Row) -> Row:
    """Return an image with what its product says, which may be newer than the image's copy."""
    return {
        **_without(row, "index_at", "index_epoch", "product_version"),
        **ProductFields.in_row(product),
        **({"product_version": product["version"]} if "version" in product else {}),
    }


def _dead(row: Row) -> Row:
    """Return an image marked as ended or deleted, so that its chunk can report its outcome."""
    dead = _without(row, "remove_at", "index_epoch")
    if row["deleted_at"] is None and row["outcome"] in (None, SUCCEEDED):
        dead["deleted_at"] = stamp(now())
    if dead["deleted_at"] is not None:
        # The sweep then handles it, and later removes its row.
        dead["index_at"] = stamp(now())
    return dead


def _open(row: Row) -> Row:
    return (
        {"open_since": stamp(now())}
        | _without(row, "succeeded", "failed", "remove_at")
        | {"finished_at": None}
        | state_fields(row["_id"], is_finished=False)
    )


def _without(row: Mapping[str, Any], *fields: str) -> Row:
    return {name: value for name, value in row.items() if name not in fields}
