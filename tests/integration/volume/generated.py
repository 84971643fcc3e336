"""What the generated catalogue of these tests is."""

from __future__ import annotations

from dataclasses import dataclass

from pymongo import MongoClient

from catalog.database.connection import Row
from catalog.rows.models import ModelRow
from catalog.store import Catalog
from config.settings import Settings
from tests.volume.catalog import Generator, Shape

DATABASE = "snapsku_volume"
SMALL = Shape(5_000, collections=5, users=2, with_vectors=1)
MODEL = ModelRow("volume-model", 16)


@dataclass(frozen=True)
class Written:
    """A generated catalogue, and what its generator counted."""

    client: MongoClient[Row]
    catalog: Catalog
    settings: Settings
    generator: Generator
