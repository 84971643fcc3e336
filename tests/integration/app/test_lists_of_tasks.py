"""list_tasks costs the same however many tasks there are and whatever their state."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from flask.testing import FlaskClient
from pymongo import MongoClient
from pymongo.monitoring import CommandListener, CommandStartedEvent

from app.server import create_app
from app.services import Services
from catalog.flows.submission import NewImage, begin, open_task, write
from catalog.rows.chunks import Stage
from catalog.rows.collections import CollectionRow
from catalog.rows.products import ProductFields
from catalog.store import Catalog
from config.settings import settings
from tests.catalogues import default_catalog
from tests.integration.app.api_in_process import Serve, result

#: One for the page, one for the chunks of those that are open.
ROUND_TRIPS = 2
READS = {"find", "getMore"}


class Commands(CommandListener):
    """The commands that were sent to MongoDB."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def started(self, event: CommandStartedEvent) -> None:
        self.names.append(event.command_name)

    def succeeded(self, event: Any) -> None:
        pass

    def failed(self, event: Any) -> None:
        pass


@pytest.fixture
def watched(
    serve: Serve, made: list[Services]
) -> Iterator[tuple[FlaskClient, Callable[[], list[str]]]]:
    """The API, and the commands that it sent since they were last asked for."""
    serve()
    commands = Commands()
    url = settings().mongo_url.get_secret_value()
    with MongoClient[dict[str, Any]](url, event_listeners=[commands]) as client:
        catalog = default_catalog(client, settings().mongo_database)
        app = create_app(replace(made[-1], catalog=catalog)).test_client()

        def sent() -> list[str]:
            names, commands.names = commands.names, []
            return names

        yield app, sent


def taken(catalog: Catalog, collection: CollectionRow, *names: str) -> str:
    """Take images of one task in; return its id."""
    products = catalog.products.find(collection.generation, ["p"])
    images = {
        n: NewImage(
            product_id="p", image_id=name, image_info="", url="http://127.0.0.1:9/x", payload=None
        )
        for n, name in enumerate(names)
    }
    draft = begin(catalog, collection, images, products)
    written = write(catalog, draft, images_per_product=0, chunk_images=2)
    catalog.chunks.mark_sent(written.chunks)
    return open_task(catalog, draft, written).task_id


@pytest.fixture
def collection(catalog: Catalog) -> CollectionRow:
    found = catalog.collections.find_or_create("default", "shop", 0)
    assert (
        catalog.products.insert(
            found, [ProductFields(product_id="p", product_name="P", category="其他")]
        )
        == {}
    )
    return found


@pytest.mark.parametrize("asked", [{}, {"task_status": "FINISHED"}, {"task_status": "PROCESSING"}])
@pytest.mark.parametrize("of", [{}, {"collection_name": "shop"}])
def test_a_list_takes_two_reads_and_no_write_behind_any_number_of_open_tasks(
    catalog: Catalog,
    collection: CollectionRow,
    watched: tuple[FlaskClient, Callable[[], list[str]]],
    asked: dict[str, str],
    of: dict[str, str],
) -> None:
    client, sent = watched
    finished = [taken(catalog, collection, f"f{n}") for n in range(3)]
    for task_id in finished:
        catalog.tasks.finish(task_id, 1, 0)
    opened = [taken(catalog, collection, f"o{n}") for n in range(60)]
    result(client, "list_tasks")
    sent()
    answer = result(client, "list_tasks", limit=5, **asked, **of)
    commands = sent()
    of_all = {"": opened, "FINISHED": finished, "PROCESSING": opened}[asked.get("task_status", "")]
    assert [task["task_id"] for task in answer["task_list"]] == of_all[:-6:-1]
    assert (answer["next_cursor"] is None) == (of_all is finished)
    # The call itself looks for the keys of users.
    listed = [name for name in commands if name != "ping"]
    assert set(listed) <= READS, listed
    assert len(listed) <= ROUND_TRIPS + 1, listed


def test_an_open_task_is_listed_with_the_images_of_its_chunks_that_are_done(
    catalog: Catalog,
    collection: CollectionRow,
    watched: tuple[FlaskClient, Callable[[], list[str]]],
) -> None:
    client, _ = watched
    task_id = taken(catalog, collection, "a", "b", "c", "d", "e")
    task = catalog.tasks.find(task_id)
    assert task is not None
    end(catalog, task.chunk_ids[0], "SUCCEEDED", "IMAGE_TOO_SMALL")
    (told,) = result(client, "list_tasks")["task_list"]
    assert (told["succeeded"], told["failed"], told["pending"]) == (1, 1, 3)
    assert (told["task_status"], told["finished_at"]) == ("PROCESSING", None)


def test_who_was_told_that_a_task_is_finished_finds_it_among_the_finished_ones(
    catalog: Catalog,
    collection: CollectionRow,
    watched: tuple[FlaskClient, Callable[[], list[str]]],
) -> None:
    client, _ = watched
    task_id = taken(catalog, collection, "a", "b", "c")
    task = catalog.tasks.find(task_id)
    assert task is not None
    # The worker died before it noted the end of the task.
    end(catalog, task.chunk_ids[0], "SUCCEEDED", "SUCCEEDED")
    end(catalog, task.chunk_ids[1], "IMAGE_TOO_SMALL")
    (told,) = result(client, "list_tasks", task_status="PROCESSING")["task_list"]
    assert (told["succeeded"], told["failed"], told["pending"]) == (2, 1, 0)
    assert result(client, "task_status", task_id=task_id)["task_status"] == "FINISHED"
    assert result(client, "list_tasks", task_status="PROCESSING")["task_list"] == []
    (told,) = result(client, "list_tasks", task_status="FINISHED")["task_list"]
    assert (told["succeeded"], told["failed"], told["pending"]) == (2, 1, 0)
    assert told["finished_at"] >= told["created_at"]


def end(catalog: Catalog, chunk_id: str, *outcomes: str) -> None:
    """End a chunk of which nothing more is done."""
    chunk = catalog.chunks.claim(chunk_id, Stage.FETCH, 1)
    assert chunk is not None
    assert catalog.chunks.finish(chunk, outcomes)
