"""`snapsku models` as an operator calls it, and backups of a collection on its way to a model."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from pymongo import MongoClient
from pymongo.database import Database

from catalog.backup import taking
from catalog.backup.archive import open_archive
from catalog.backup.dumping import dump
from catalog.backup.restoring import restore
from catalog.backup.taking import NothingToBackUpError, read_through, take_backup
from catalog.database.connection import Row, databases
from catalog.rows.changes import ChangeState
from catalog.rows.collections import CollectionRow
from catalog.rows.images import ImageRow
from catalog.rows.models import ModelRow
from catalog.rows.products import ProductFields
from catalog.schema.version import SCHEMA, Schema
from catalog.store import Catalog
from cli.main import main
from tests.catalogues import default_catalog
from tests.integration.operations.programs import environment
from tests.servers import Servers

OLD = ModelRow("old", 4)
NEW = ModelRow("new", 4)

Told = Callable[..., Any]


@pytest.fixture
def database(client: MongoClient[Row]) -> Iterator[str]:
    name = f"models_{uuid.uuid4().hex[:8]}"
    yield name
    for one in databases(client, name):
        client.drop_database(one.name)


@pytest.fixture
def catalog(client: MongoClient[Row], database: str) -> Catalog:
    Schema(*databases(client, database)).bring_up_to_date()
    return default_catalog(client, database)


@pytest.fixture
def told(servers: Servers, tmp_path: Path, database: str) -> Told:
    """Return a function that runs a command of the group and gives its JSON, or its fault."""

    def called(*arguments: str) -> Any:
        variables = environment(
            tmp_path / "data",
            mongo_url=servers.mongo_url,
            redis_url=servers.redis_url,
            mongo_database=database,
        )
        ended = CliRunner().invoke(main, ["models", *arguments], env=variables)
        return json.loads(ended.stdout) if ended.exit_code == 0 else ended.stderr.strip()

    return called


@pytest.fixture
def shop(catalog: Catalog) -> CollectionRow:
    """A collection with three images that have a feature of the old model."""
    catalog.models.adopt(OLD, NEW)
    collection = catalog.collections.find_or_create("u", "shop", 0)
    catalog.products.insert(
        collection, [ProductFields(product_id="p", product_name="P", category="其他")]
    )
    serial = catalog.products.find(collection.generation, ["p"])["p"].serial
    labels = list(catalog.numbers.reserve(3))
    catalog.images.insert(
        [
            ImageRow(
                label=label,
                collection=collection.key,
                generation=collection.generation,
                product_id="p",
                product_serial=serial,
                product_name="P",
                category="其他",
                image_id=str(label),
                image_info="",
                url=None,
            )
            for label in labels
        ]
    )
    catalog.names.take({f"{collection.generation}/{label}": label for label in labels})
    catalog.products.take_places(collection.generation, {"p": labels})
    catalog.images.succeed(labels)
    catalog.vectors.put("old", {label: np.ones(4, np.float32) for label in labels})
    return collection


def labels_of(catalog: Catalog, shop: CollectionRow) -> list[int]:
    return sorted(image.label for image in catalog.images.of_generation(shop.generation, 10))


def test_without_a_next_model_the_command_says_what_to_do(catalog: Catalog, told: Told) -> None:
    catalog.models.adopt(OLD)
    assert "SNAPSKU_NEXT_DETECTOR" in told("change", "--all")
    assert "no worker ever loaded model x" in told("change", "--all", "--to", "x")
    assert "USER/NAME" in told("change", "u/none", "--to", "old")
    assert "name one collection" in told("change", "--to", "old")


def test_without_a_next_model_the_target_is_the_model_of_new_collections(
    catalog: Catalog, shop: CollectionRow, told: Told
) -> None:
    parted = ModelRow("old-w1", 4, parts=2)
    catalog.models.adopt(parted, served={"old": parted})
    assert told("change", "--all") == {"u/shop": "begun"}
    (change,) = told("status")["changes"]
    assert (change["from"], change["to"]) == ("old", "old-w1")


def test_a_change_is_begun_once_and_cancelled_once(
    catalog: Catalog, shop: CollectionRow, told: Told
) -> None:
    assert told("change", "u/shop") == {"u/shop": "begun"}
    begun = catalog.changes.find(shop.key)
    assert told("change", "u/shop") == {"u/shop": "is under way"}
    assert catalog.changes.find(shop.key) == begun
    (change,) = told("status")["changes"]
    assert (change["from"], change["to"], change["state"]) == ("old", "new", "running")
    assert told("cancel", "u/shop") == {"u/shop": "cancelled"}
    assert told("cancel", "u/shop") == {"u/shop": "is cancelled"}
    assert "is not over (cancelled)" in told("change", "u/shop")["u/shop"]


def test_all_means_new_collections_too_and_cancel_takes_that_back(
    catalog: Catalog, shop: CollectionRow, told: Told
) -> None:
    assert told("change", "--all") == {shop.key: "begun"}
    assert catalog.collections.find_or_create("u", "later", 0).model_id == "new"
    assert told("change", "--all")["u/later"] == "uses this model already"
    told("cancel", "--all")
    assert told("status")["model_of_new_collections"] == "old"


def test_losses_are_named_and_tried_again_or_accepted(
    catalog: Catalog, shop: CollectionRow, told: Told
) -> None:
    told("change", "u/shop")
    first = labels_of(catalog, shop)[0]
    catalog.losses.put(shop.generation, "new", {first: "BROKEN"})
    change = catalog.changes.find(shop.key)
    assert change is not None
    catalog.changes.wait(change)
    assert told("lost", "u/shop") == [
        {"product_id": "p", "image_id": str(first), "reason": "BROKEN"}
    ]
    assert told("status", "u/shop")["changes"][0]["lost"] == 1
    assert told("change", "u/shop", "--accept-losses") == {"u/shop": "goes on"}
    gone_on = catalog.changes.find(shop.key)
    assert gone_on is not None
    assert (gone_on.state, gone_on.accepts_losses) == (ChangeState.RUNNING, True)
    assert told("lost", "u/shop") != []
    catalog.changes.wait(gone_on)
    assert told("change", "u/shop") == {"u/shop": "goes on"}
    assert told("lost", "u/shop") == []


def test_a_backup_in_the_middle_of_a_change_brings_both_vectors_back(
    client: MongoClient[Row], catalog: Catalog, shop: CollectionRow, database: str, tmp_path: Path
) -> None:
    assert catalog.changes.begin(shop.key, "old", "new", accept_losses=False)
    labels = labels_of(catalog, shop)
    catalog.vectors.put("new", {labels[0]: np.zeros(4, np.float32)})
    contents = take_backup(client, database, tmp_path / "backup", lambda *_: None)
    assert contents.findable == 3
    target = f"{database}_back"
    with open_archive(tmp_path / "backup") as archive:
        restore(
            client,
            target,
            archive,
            read_through(archive, lambda *_: None),
            schema=SCHEMA,
            catalogue=archive.manifest.catalogue,
            checksum=archive.checksum,
            progress=lambda *_: None,
        )
    restored = default_catalog(client, target)
    assert restored.vectors.models(labels) == {
        labels[0]: {"old", "new"},
        labels[1]: {"old"},
        labels[2]: {"old"},
    }
    change = restored.changes.find(shop.key)
    assert change is not None
    assert (change.state, change.place) == (ChangeState.RUNNING, "")
    for one in databases(client, target):
        client.drop_database(one.name)


def test_a_backup_that_meets_a_switch_is_refused(
    client: MongoClient[Row],
    catalog: Catalog,
    shop: CollectionRow,
    database: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert catalog.changes.begin(shop.key, "old", "new", accept_losses=False)
    change = catalog.changes.find(shop.key)
    assert change is not None

    def switch_meanwhile(*arguments: Any) -> Any:
        for part in dump(*arguments):
            yield part
            if part.table == "vectors":
                assert catalog.changes.switch(change, timedelta(0))

    monkeypatch.setattr(taking, "dump", switch_meanwhile)
    with pytest.raises(NothingToBackUpError, match="changed its model meanwhile"):
        take_backup(client, database, tmp_path / "backup", lambda *_: None)


def test_rows_of_version_2_say_which_model_their_collections_use(
    client: MongoClient[Row], database: str
) -> None:
    rows: Database[Row] = databases(client, database)[0]
    rows["schema"].insert_one({"_id": "schema", "version": 2})
    rows["models"].insert_one({"_id": "current", "model_id": "old", "dimensions": 4})
    rows["collections"].insert_one(
        {
            "_id": "u/shop",
            "user": "u",
            "name": "shop",
            "generation": "g",
            "product_count": 0,
            "image_count": 0,
            "changes": 0,
            "created_at": 1,
        }
    )
    Schema(*databases(client, database)).bring_up_to_date()
    catalog = default_catalog(client, database)
    found = catalog.collections.find("u", "shop")
    assert found is not None
    assert found.models == ("old",)
    catalog.models.adopt(OLD, NEW)
    assert catalog.models.first() == OLD
    assert catalog.changes.begin("u/shop", "old", "new", accept_losses=False)
