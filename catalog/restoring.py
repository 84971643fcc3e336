"""Writing a backup into an empty database, as one catalogue that goes on from there.

What is derived is derived anew: names, places, counters and times of work. Until the last row is
written a mark keeps every process of the service from the database, and a restore that was cut
off begins anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from pymongo import MongoClient
from pymongo.database import Database

from catalog.chunks import DUE_FIELDS, TIME_FIELDS, State
from catalog.claims import name_key
from catalog.connection import Row, Rows, databases, find_by_id, now, stamp
from catalog.counters import without_recount
from catalog.dumping import BLOBS, Progress
from catalog.identity import Identity
from catalog.images import SUCCEEDED
from catalog.indexes import create_indexes
from catalog.products import product_key
from catalog.schema import RESTORE, SCHEMA, Schema
from catalog.seal import Seal
from catalog.survivors import Source, Survivors
from catalog.tasks import state_fields

#: Documents written at a time, as far as they are not too large together.
WRITTEN_AT_ONCE = 500
WRITTEN_BYTES = 8 * 2**20

#: Tasks looked at at a time, each with a dozen chunks.
TASK_PAGE = 50

#: Tables whose rows mean that a service was at work here.
USED = (
    *("collections", "products", "images", "image_names", "image_contents", "tasks", "chunks"),
    *("accounts", "access_keys"),
)

#: Tables of what was going on in the service whose database it was.
PASSING = (
    *("users", "models", "losses", "queues", "purges", "numbers", "keys"),
    *("clock", "owners", "turns"),
)


class RestoreRefusedError(Exception):
    """The database can't take this backup; the text is one line for a person."""


def require_room(client: MongoClient[Row], name: str, schema: int) -> None:
    """Make sure that a backup of that schema version can be restored into the catalogue `name`.

    Writes nothing. Raises RestoreRefusedError.
    """
    rows, blobs = databases(client, name)
    if schema > SCHEMA:
        raise RestoreRefusedError(
            f"the backup has rows of version {schema}, this code knows version {SCHEMA}; "
            "restore it with the newer release that wrote it"
        )
    if _is_marked(rows):
        return
    used = [t for t in USED if rows[t].find_one({}, ["_id"]) is not None]
    used += [t for t in BLOBS if blobs[t].find_one({}, ["_id"]) is not None]
    if used:
        raise RestoreRefusedError(
            f"database {name} is not empty ({', '.join(used)}); a backup goes into an empty one, "
            "so drop it first or name another in SNAPSKU_MONGO_DATABASE"
        )


def restore(
    client: MongoClient[Row],
    name: str,
    source: Source,
    survivors: Survivors,
    *,
    schema: int,
    catalogue: str,
    progress: Progress,
) -> None:
    """Write what survives of a backup into the catalogue `name`, and begin it anew.

    `schema` is the version of its rows, `catalogue` the id of the catalogue it was taken of.

    Raises RestoreRefusedError before anything is written; what `source` raises, and PyMongoError,
    leave the mark of a restore that was cut off.
    """
    require_room(client, name, schema)
    rows, blobs = databases(client, name)
    rows["schema"].update_one({"_id": RESTORE}, {"$set": {"begun_at": stamp(now())}}, upsert=True)
    for table in (*USED, *PASSING):
        rows.drop_collection(table)
    for table in BLOBS:
        blobs.drop_collection(table)
    # From here on it is another catalogue than the one whose rows it gets: what Redis and
    # snapshots hold of that one is not taken for its own.
    identity = Identity(rows["schema"])
    identity.renew()
    # The users of a backup may have been sealed with another key.
    Seal(rows["schema"]).remove()
    chunk_id = _Renaming(catalogue, identity.get())

    for table in BLOBS:
        alive = (row for row in source.rows(table) if survivors.is_living(abs(row["_id"])))
        _write(blobs[table], alive, progress)
    _write(rows["products"], _products(source, survivors), progress)
    _write_images(rows, source, survivors, progress)
    held = (row for row in source.rows("image_contents") if survivors.is_living(row["label"]))
    _write(rows["image_contents"], held, progress)
    _write(rows["chunks"], _chunks(source, survivors, chunk_id), progress)
    _write(rows["tasks"], _tasks(rows["chunks"], source, survivors, chunk_id), progress)
    _write(rows["keys"], _keys(source, survivors), progress)
    _write(rows["models"], source.rows("models"), progress)
    _write(rows["users"], _users(source, survivors), progress)
    _write(rows["accounts"], source.rows("accounts"), progress)
    _write(rows["access_keys"], source.rows("access_keys"), progress)
    _write(rows["collections"], _collections(source, survivors), progress)
    rows["numbers"].insert_one({"_id": "number", "last": survivors.highest})

    create_indexes(client, name)
    rows["schema"].delete_one({"_id": "schema"})
    rows["schema"].insert_one({"_id": "schema", "version": schema})
    rows["schema"].delete_one({"_id": RESTORE})
    Schema(rows, blobs).bring_up_to_date()


def _is_marked(rows: Database[Row]) -> bool:
    return rows["schema"].find_one({"_id": RESTORE}) is not None


def _write(rows: Rows, documents: Iterable[Row], progress: Progress) -> None:
    done = 0
    for batch in _batches(documents):
        rows.insert_many(batch, ordered=False)
        done += len(batch)
        progress(rows.name, done, None)
    progress(rows.name, done, done)


def _batches(documents: Iterable[Row]) -> Iterator[list[Row]]:
    batch: list[Row] = []
    size = 0
    for document in documents:
        batch.append(document)
        size += sum(len(value) for value in document.values() if isinstance(value, bytes))
        if len(batch) == WRITTEN_AT_ONCE or size >= WRITTEN_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _products(source: Source, survivors: Survivors) -> Iterator[Row]:
    for row in source.rows("products"):
        if survivors.is_living_product(row):
            # Its images are written as it is.
            yield _without(row, "copy_at") | {"places": survivors.places(row["serial"])}


def _write_images(
    rows: Database[Row], source: Source, survivors: Survivors, progress: Progress
) -> None:
    """Write living images with their names, and the dead ones whose task still has to tell."""
    done = 0
    found = source.rows("images")
    while page := list(islice(found, WRITTEN_AT_ONCE)):
        living = [row for row in page if survivors.is_living(row["_id"])]
        keys = {product_key(row["generation"], row["product_id"]) for row in living}
        products = find_by_id(rows["products"], list(keys))
        images = [
            _living(row, products[product_key(row["generation"], row["product_id"])])
            for row in living
        ]
        images += [
            _dead(row)
            for row in page
            if survivors.is_on_its_way(row["_id"]) and not survivors.is_living(row["_id"])
        ]
        if images:
            rows["images"].insert_many(images, ordered=False)
        if living:
            names = ((name_key(row["generation"], row["image_id"]), row["_id"]) for row in living)
            rows["image_names"].insert_many(
                [{"_id": key, "label": label} for key, label in names], ordered=False
            )
        done += len(images)
        progress("images", done, None)
    progress("images", done, done)


def _living(row: Row, product: Row) -> Row:
    """Give an image as its product is, which may have been changed after the image was read."""
    return _without(row, "index_at", "index_epoch", "product_version") | {
        "product_name": product["product_name"],
        "category": product["category"],
        **({"product_version": product["version"]} if "version" in product else {}),
    }


def _dead(row: Row) -> Row:
    """Give an image that holds nothing any more, so that its chunk can tell how it ended."""
    dead = _without(row, "remove_at", "index_epoch")
    if row["deleted_at"] is None and row["outcome"] in (None, SUCCEEDED):
        dead["deleted_at"] = stamp(now())
    if dead["deleted_at"] is not None:
        # The sweep has it looked at, and its row removed when its time is over.
        dead["index_at"] = stamp(now())
    return dead


class _Renaming:
    """Gives chunks the names that those of another catalogue have.

    Under the old ones Redis may hold results of work that was done after the backup.
    """

    def __init__(self, old: str, new: str) -> None:
        self._old = f"chunk-{old}-"
        self._new = f"chunk-{new}-"

    def __call__(self, chunk_id: str) -> str:
        return self._new + chunk_id.removeprefix(self._old)


def _chunks(source: Source, survivors: Survivors, chunk_id: _Renaming) -> Iterator[Row]:
    """Give the chunks of whole tasks; those that are not done wait to be sent."""
    for row in source.rows("chunks"):
        if not survivors.is_whole_task(row["task_id"]):
            continue
        chunk = row | {"_id": chunk_id(row["_id"])}
        if row["state"] != State.DONE:
            # The last two are of a backup from before version 4.
            times = (*TIME_FIELDS, "due_at", "sent_at")
            waiting = {"state": State.WAITING.value, DUE_FIELDS[State.WAITING]: stamp(now())}
            chunk = _without(chunk, *times) | waiting
        yield chunk


def _tasks(
    chunks: Rows, source: Source, survivors: Survivors, chunk_id: _Renaming
) -> Iterator[Row]:
    """Give the whole tasks, each with those of its chunks that are there.

    One that ended only after its chunks were read has not ended here.
    """
    found = source.rows("tasks")
    while page := list(islice(found, TASK_PAGE)):
        whole = [row for row in page if survivors.is_whole_task(row["_id"])]
        for row in whole:
            row["chunk_ids"] = [chunk_id(each) for each in row["chunk_ids"]]
        states = find_by_id(chunks, [each for row in whole for each in row["chunk_ids"]], ["state"])
        for row in whole:
            row["chunk_ids"] = [each for each in row["chunk_ids"] if each in states]
            if any(states[each]["state"] != State.DONE for each in row["chunk_ids"]):
                yield (
                    {"open_since": stamp(now())}
                    | _without(row, "succeeded", "failed", "remove_at")
                    | {"finished_at": None}
                    | state_fields(row["_id"], is_finished=False)
                )
            else:
                yield row


def _keys(source: Source, survivors: Survivors) -> Iterator[Row]:
    """Give the idempotency keys that stand for a task which is there."""
    for row in source.rows("keys"):
        if row["task_id"] is not None and survivors.is_whole_task(row["task_id"]):
            yield row


def _users(source: Source, survivors: Survivors) -> Iterator[Row]:
    """Give the users with the names of their living collections, in the order of their places."""
    alive: dict[str, list[str]] = {}
    for key in survivors.collections.values():
        user, _, name = key.partition("/")
        alive.setdefault(user, []).append(name)
    for row in source.rows("users"):
        here = alive.get(row["_id"], [])
        noted = [name for name in row["collections"] if name in here]
        # A deletion takes the name away after the collection.
        yield row | {"collections": noted + [name for name in here if name not in noted]}


def _collections(source: Source, survivors: Survivors) -> Iterator[Row]:
    for row in source.rows("collections"):
        change = row.get("change") and _without(row["change"], "index_epoch")
        yield without_recount(row) | {
            # The chunks of a change are not in the backup.
            **({} if change is None else {"change": change | {"place": "", "seen": 0}}),
            "product_count": survivors.product_counts[row["generation"]],
            "image_count": survivors.image_counts[row["generation"]],
        }


def _without(row: Mapping[str, Any], *fields: str) -> Row:
    return {name: value for name, value in row.items() if name not in fields}
