"""The API in this process, on a real catalogue, under limits of a test's own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis
from flask.testing import FlaskClient

from app.server import create_app
from app.services import Services, make_services
from catalog.store import Catalog
from config.settings import settings
from tests.integration.app.api_in_process import Serve


@pytest.fixture
def made(catalog: Catalog, redis_client: redis.Redis) -> Iterator[list[Services]]:
    """The services that a test made; nothing of the catalogue was there before."""
    services: list[Services] = []
    yield services
    for one in services:
        one.catalog.client.close()
        one.redis.close()


@pytest.fixture
def serve(made: list[Services]) -> Serve:
    """Return a function that serves the API under limits of the test's own."""

    def serving(**limits: int) -> FlaskClient:
        made.append(make_services(settings().model_copy(update=limits)))
        return create_app(made[-1]).test_client()

    return serving
