"""A small generated catalogue is one that the service works on; the large one is made alike."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient

from app.server import create_app
from app.services import make_services
from catalog.database.connection import now
from catalog.flows.recount import recount_one
from catalog.rows.chunks import State
from catalog.rows.claims import content_key, name_key
from catalog.rows.collections import CollectionRow
from catalog.rows.images import SUCCEEDED
from cli import doctor
from tests.integration.volume.generated import DATABASE, MODEL, SMALL, Written
from tests.volume.catalog import Generator, Shape, collection_name, vector_of
from tests.volume.files import build_index


@pytest.fixture(scope="module")
def client(written: Written) -> Iterator[FlaskClient]:
    services = make_services(written.settings)
    yield create_app(services).test_client()
    services.catalog.client.close()
    services.redis.close()


@pytest.fixture
def first(written: Written) -> CollectionRow:
    """The collection whose images have vectors."""
    found = written.catalog.collections.find("default", collection_name(0))
    assert found is not None
    return found


def called(client: FlaskClient, operation: str, **body: Any) -> dict[str, Any]:
    result: dict[str, Any] = client.post(f"/v1/{operation}", json=body).get_json()["result"]
    assert result["code"] == 0, result
    return result


def test_doctor_finds_the_database_in_order(written: Written) -> None:
    findings = [
        doctor.mongodb(written.client, written.settings),
        doctor.indexes(written.client, written.settings),
        doctor.schema(written.client, written.settings),
        doctor.model(written.catalog),
    ]
    assert findings[3] == "volume-model, 16 numbers"


def test_every_image_has_a_row_and_what_an_image_of_its_outcome_holds(written: Written) -> None:
    rows = written.client[DATABASE]
    images = list(rows["images"].find({}))
    assert len(images) == SMALL.images
    good = [row for row in images if row["outcome"] == SUCCEEDED]
    failed = [row for row in images if row["outcome"] == "IMAGE_TOO_SMALL"]
    waiting = [row for row in images if row["outcome"] is None]
    assert len(failed) == written.generator.failed_images == SMALL.images // 1000
    assert len(waiting) == 10 * written.generator.open_tasks > 0
    assert len(good) + len(failed) + len(waiting) == SMALL.images
    held = {row["label"]: row["_id"] for row in rows["image_names"].find({})}
    assert held == {
        row["_id"]: name_key(row["generation"], row["image_id"]) for row in (*good, *waiting)
    }
    serials = {row["_id"]: row["product_serial"] for row in good}
    contents = {row["label"]: row["_id"] for row in rows["image_contents"].find({})}
    assert contents.keys() == serials.keys()
    assert all(key.startswith(content_key(serials[n], "")) for n, key in contents.items())


def test_counters_are_what_a_recount_finds(written: Written) -> None:
    for found in written.catalog.collections.all():
        assert found.product_count, found
        written.catalog.collections.ask_recount(found.key, found.generation)
    long_ago = {"$set": {"recount_at": 1, "changed_at": 1}}
    assert written.client[DATABASE]["collections"].update_many({}, long_ago).matched_count
    due = written.catalog.counters.due(100)
    assert due
    assert [recount_one(written.catalog, counted) for counted in due] == [None] * len(due)


def test_nothing_of_it_is_due(written: Written) -> None:
    catalog = written.catalog
    soon = now() + timedelta(days=365)
    for state in (State.RUNNING, State.WAITING, State.DONE):
        assert catalog.chunks.due(state, 10, soon) == []
    assert catalog.chunks.oldest_sent() is None
    assert catalog.tasks.to_be_removed(soon, 10) == []
    assert catalog.tasks.overdue_submissions(10) == []
    assert catalog.images.to_be_removed(soon, 10) == []
    assert catalog.purges.due(10) == []


def test_a_search_in_its_shards_finds_each_image_by_its_vector(
    written: Written, first: CollectionRow, tmp_path: Path
) -> None:
    shards = build_index(written.catalog, tmp_path)
    assert list((tmp_path / "index" / "sets").iterdir()), "no snapshot was saved"
    labels = [
        row["_id"]
        for row in written.client[DATABASE]["images"].find({"generation": first.generation})
        if row["outcome"] == SUCCEEDED
    ]
    for label in labels[::97]:
        vector = vector_of(SMALL.seed, label, MODEL.dimensions)[np.newaxis]
        near = shards.search(first.generation, None, vector, 5)
        assert near.labels[0] == label


def test_tasks_and_lists_answer_as_those_of_the_service_do(
    written: Written, client: FlaskClient, first: CollectionRow
) -> None:
    listed = called(client, "list_tasks", collection_name=first.name, limit=200)["task_list"]
    assert len(listed) == SMALL.collection_tasks == 100
    assert {task["task_status"] for task in listed} == {"FINISHED"}
    assert sum(task["failed"] for task in listed) == 1
    status = called(client, "task_status", task_id=listed[0]["task_id"])
    assert len(status["succeeded_list"]) + len(status["failed_list"]) == 10
    open_ones = [
        task
        for user in ("default", "user-01")
        for task in written.catalog.tasks.page(user, None, "", 1000).rows
        if task.ending is None
    ]
    assert len(open_ones) == written.generator.open_tasks
    products = called(client, "list_products", collection_name=first.name, limit=200)
    assert len(products["product_list"]) == 100
    assert sum(product["image_count"] for product in products["product_list"]) == 999


def test_what_the_service_adds_is_written_as_what_was_generated(
    written: Written, client: FlaskClient, first: CollectionRow
) -> None:
    added = called(
        client,
        "add_image",
        collection_name=first.name,
        image_list=[
            {"product_id": "p-99", "image_id": "new", "image_content": "http://images.example/x"}
        ],
    )
    assert added["failed_list"] == []
    rows = written.client[DATABASE]
    (new,) = rows["images"].find({"image_id": "new"})
    generated = rows["images"].find_one({"image_id": "i-0", "generation": first.generation})
    assert generated is not None
    assert generated.keys() - new.keys() == {"ended_at", "shown_at"}
    assert new.keys() <= generated.keys()
    assert new["_id"] > rows["images"].count_documents({}), "a label was used twice"


def test_the_same_seed_makes_the_same_rows_and_another_seed_others() -> None:
    def rows(seed: int) -> list[Any]:
        shape = Shape(40, seed, collections=2, users=1, with_vectors=1)
        return list(Generator(shape, MODEL).pieces())

    assert rows(1) == rows(1)
    assert rows(1) != rows(2)
