"""Every query of an operation, a stage or the sweep is answered by one index, without a sort."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from flask.testing import FlaskClient
from pymongo import monitoring

from app.server import OPERATIONS, create_app
from app.services import Services, make_services
from broker.celery_app import app
from broker.celery_settings import celery_settings
from broker.queues import MAINTENANCE
from catalog.database.connection import databases, now, stamp
from catalog.flows.submission import NewImage, begin, write
from catalog.rows.accounts import NewKeys
from catalog.rows.chunks import DUE_FIELDS, SENT_FIELDS, TIME_FIELDS, State
from catalog.rows.images import Failure
from catalog.rows.products import ProductFields
from catalog.schema.indexes import INDEXES
from catalog.store import Catalog
from config.settings import settings
from tests.integration.workers.model_change import NEW, OLD, Work, picture, pipeline
from tests.integration.workers.recorded_queries import Recorder, is_by_index
from workers import index as index_stage
from workers import maintenance
from workers import vision as vision_stage
from workers.index_process import parts
from workers.index_process.catalog_index import CatalogIndex
from workers.index_process.comparison import Comparison
from workers.index_process.vector_engine import HnswEngine
from workers.support import resources

#: Tables of a few rows, or read as a whole, each with the reason why no index is needed.
READ_AS_A_WHOLE = {
    ("models", ()): "two rows",
    ("queues", ()): "a row for each queue; removed when the clock was set back",
    ("purges", ("deleted_at",)): "when the clock was set back; a row for each collection that goes",
    ("accounts", ()): "`snapsku users list` and doctor",
    ("access_keys", ()): "the gate asks for one row, whichever, until there is one",
    ("collections", ()): "at the start of the index process and of a vision worker, and to compare",
    ("collections", ("model_id",)): "at the start of a vision worker",
}

#: Operations in an order in which their examples can be run.
ORDER = [
    *("create_product", "update_product", "list_products", "list_collections", "add_image"),
    *("task_status", "list_tasks", "image_info", "update_image", "product_search"),
    *("delete_image", "delete_product", "delete_collection"),
]


@pytest.fixture
def recorder(
    catalog: Catalog, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Recorder]:
    """A recorder of every client that is made from now on, with times that have passed at once."""
    for name in ("TASK", "KEY", "DELETED", "RECOUNT", "SUBMISSION", "CLOCK_SETTLING"):
        monkeypatch.setenv(f"SNAPSKU_{name}_SECONDS", "0.001")
    recorder = Recorder()
    monitoring.register(recorder)
    catalog.client.close()
    forget_process()
    yield recorder
    resources.catalog().client.close()
    monkeypatch.undo()
    forget_process()


def forget_process() -> None:
    settings.cache_clear()
    resources.catalog.cache_clear()
    resources.staged_bytes.cache_clear()


@pytest.fixture
def services(recorder: Recorder) -> Iterator[Services]:
    made = make_services(settings())
    yield made
    made.catalog.client.close()
    made.redis.close()


@pytest.fixture
def work(recorder: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Work:
    catalog = resources.catalog()
    with recorder.recording():
        catalog.models.adopt(OLD, NEW)
    shards = CatalogIndex(lambda: catalog, HnswEngine(100, tmp_path / "sets"))
    monkeypatch.setattr(index_stage, "shards", lambda: shards)
    monkeypatch.setattr(vision_stage, "pipeline", pipeline)
    return Work(catalog, shards)


def rows_of(catalog: Catalog) -> Any:
    return databases(catalog.client, settings().mongo_database)[0]


def sweep() -> None:
    """Run whatever beat has the maintenance worker do."""
    assert maintenance.sweep.name in app.tasks
    for entry in celery_settings(settings())["beat_schedule"].values():
        if entry["options"]["queue"] == MAINTENANCE:
            app.tasks[entry["task"]](*entry.get("args", ()))


def chunks_of(work: Work) -> list[Any]:
    return work.catalog.chunks.find([row["_id"] for row in rows_of(work.catalog)["chunks"].find()])


def call_operations(client: FlaskClient, work: Work, recorder: Recorder) -> None:
    """Call every operation once, with the stages between add_image and what follows it."""
    by_name = {operation.name: operation for operation in OPERATIONS}
    assert sorted(ORDER) == sorted(by_name)
    task_id = ""
    for name in ORDER:
        body = {**by_name[name].example.request}
        if name == "task_status":
            body["task_id"] = task_id
        with recorder.recording():
            answer = client.post(f"/v1/{name}", json=body, headers={"Idempotency-Key": name})
        found = answer.get_json()["result"]
        assert found["code"] == 0, (name, found)
        if name == "add_image":
            task_id = found["task_id"]
            chunks = chunks_of(work)
            with recorder.recording():
                work.finish(*chunks)


def test_every_query_is_answered_by_one_index_without_a_sort(
    services: Services,
    work: Work,
    recorder: Recorder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    catalog, rows = work.catalog, rows_of(work.catalog)
    answer: dict[str, Any] = {"rectangle": None, "images": []}
    monkeypatch.setattr(services.exchange, "wait", lambda *_: answer)
    client = create_app(services).test_client()
    with recorder.recording():
        catalog.images.take_over(1)
        client.get("/readyz")
        client.post("/v1/list_tasks", json={})
        client.post("/v1/list_tasks", json={"task_status": "FINISHED"})
        client.post("/v1/list_tasks", json={"collection_name": "shop"})
        of_one = {"collection_name": "shop", "task_status": "PROCESSING"}
        client.post("/v1/list_tasks", json=of_one)
        work.shards.restore()
    call_operations(client, work, recorder)
    with recorder.recording():
        sweep()
    change_model(client, work, recorder, tmp_path / "sets")
    cut_off_submission(catalog)
    with recorder.recording():
        sweep()
        index_stage.drop("a generation that is gone")
    for row in (
        # A lease that ran out, a message that was lost, and a clock that was set back.
        {"state": "running", DUE_FIELDS[State.RUNNING]: 1, "unclean": 10},
        {"state": "sent", **dict.fromkeys(SENT_FIELDS.values(), 1)},
    ):
        rows["chunks"].update_many({}, {"$unset": dict.fromkeys(TIME_FIELDS, 1)})
        rows["chunks"].update_many({}, {"$set": row})
        with recorder.recording():
            sweep()
    ahead = stamp(now()) + 3_600_000
    for seen in (ahead, 1):
        rows["clock"].update_many({}, {"$set": {"seen": seen}})
        with recorder.recording():
            sweep()
    with recorder.recording():
        manage_users(catalog)
    judge(catalog, recorder)


def change_model(client: FlaskClient, work: Work, recorder: Recorder, folder: Path) -> None:
    """Take images in, some of them cut off, embed all anew, and let them be removed."""
    name = "changing"
    product = {"product_id": "p", "product_name": "P", "category": "鞋靴"}
    client.post("/v1/create_product", json={"collection_name": name, "product_list": [product]})
    images = [
        {"product_id": "p", "image_id": str(n), "image_content": in_base64(n)} for n in range(2)
    ]
    client.post("/v1/add_image", json={"collection_name": name, "image_list": images})
    work.finish(*chunks_of(work))
    collection = work.catalog.collections.find("default", name)
    assert collection is not None
    with recorder.recording():
        work.begin(collection)
        own_index(work, folder)
        work.complete(collection)
        work.catalog.losses.put(collection.generation, "another", {1: "for a test"})
        work.catalog.losses.of_generation(collection.generation, "another")


def own_index(work: Work, folder: Path) -> None:
    """Do what a new owner of the index does, and its comparison in the background.

    With what the owner before left in the folder, and without.
    """
    epoch = parts.ownership().epoch
    work.catalog.images.take_over(epoch)
    work.catalog.changes.take_over(epoch)
    CatalogIndex(lambda: work.catalog, HnswEngine(100, folder / "new")).restore()
    for index in work.shards.restore():
        for key in index.unsaved():
            index.save(key)
    work.shards.keep_checkpoints()
    CatalogIndex(lambda: work.catalog, HnswEngine(100, folder)).restore()
    Comparison(lambda: work.catalog, work.shards, 600.0, again_seconds=0.0).compare()


def cut_off_submission(catalog: Catalog) -> None:
    """Write what a call of add_image writes whose process dies before its end."""
    collection = catalog.collections.find_or_create("user", "cut off", 0)
    catalog.products.insert(
        collection, [ProductFields(product_id="p", product_name="P", category="鞋靴")]
    )
    products = catalog.products.find(collection.generation, ["p"])
    draft = begin(
        catalog,
        collection,
        {0: NewImage(product_id="p", image_id="i", image_info="", url=None, payload=picture(0))},
        products,
    )
    write(catalog, draft, images_per_product=0, chunk_images=16)


def in_base64(number: int) -> str:
    return base64.b64encode(picture(number)).decode()


def manage_users(catalog: Catalog) -> None:
    accounts = catalog.accounts
    accounts.add("u", NewKeys("AK1", b"sealed", "hash 1"), None, None)
    accounts.rotate("u", NewKeys("AK2", b"sealed", "hash 2"))
    accounts.set_disabled("u", is_disabled=True)
    accounts.key("AK2")
    accounts.key_of_api("hash 2")
    accounts.all()
    list(accounts.all_keys())


def judge(catalog: Catalog, recorder: Recorder) -> None:
    by_name = {
        database.name: database for database in databases(catalog.client, settings().mongo_database)
    }
    slow = [
        str(query)
        for query in recorder.queries.values()
        if (query.table, query.fields) not in READ_AS_A_WHOLE
        and not is_by_index(by_name[query.database], query)
    ]
    assert not slow, "\n".join(slow)
    missing = {query.table for query in recorder.queries.values()}.difference(
        *(database.list_collection_names() for database in by_name.values())
    )
    assert not missing, "no plan is told for a table that is not there"
    assert unused(recorder.queries.values()) == []


def unused(queries: Any) -> list[str]:
    """Return the indexes by which no query went, so that the scenario lacks something."""
    leading = {(query.table, field) for query in queries for field in query.fields[:1]}
    return [str(index) for index in INDEXES if (index.table, index.fields[0]) not in leading]


def test_nothing_is_asked_about_no_rows(recorder: Recorder) -> None:
    catalog = resources.catalog()
    catalog.images.find([1])
    with recorder.recording():
        for change in (
            catalog.images.find,
            catalog.images.succeed,
            catalog.images.shown,
            catalog.images.delete,
            catalog.images.index_is_right,
            catalog.images.ask_index,
            catalog.images.schedule_removal,
            catalog.images.remove,
            catalog.products.remove,
            catalog.losses.remove,
            catalog.payloads.remove,
            catalog.pictures.remove,
            catalog.vectors.remove,
        ):
            change([])
        catalog.images.fail([], Failure(message="for a test"))
    assert recorder.queries == {}
