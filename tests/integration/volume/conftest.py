"""A small generated catalogue in the embedded servers of the test run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pymongo import MongoClient

from config.settings import settings
from tests.catalogues import default_catalog
from tests.integration.volume.generated import DATABASE, MODEL, SMALL, Written
from tests.volume.catalog import Generator
from tests.volume.files import write_catalog


@pytest.fixture(scope="module")
def written(process_settings: None) -> Iterator[Written]:
    chosen = settings().model_copy(update={"mongo_database": DATABASE})
    generator = Generator(SMALL, MODEL)
    with MongoClient[dict[str, Any]](chosen.mongo_url.get_secret_value()) as client:
        for name in (DATABASE, f"{DATABASE}_blobs"):
            client.drop_database(name)
        write_catalog(client, DATABASE, generator)
        yield Written(client, default_catalog(client, DATABASE), chosen, generator)
