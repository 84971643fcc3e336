"""Servers and a stack of a module's own, which its tests may kill or set to other times."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pymongo import MongoClient

from tests.e2e.own_servers import OwnServers
from tests.e2e.recovery.rows import Rows
from tests.e2e.stack import Stack, running

DATABASE = "snapsku_own"


@pytest.fixture(scope="module")
def own_environment() -> dict[str, str]:
    """Variables of the own servers and of each process of the stack; a module may name others."""
    return {}


@pytest.fixture(scope="module")
def environments_of_kinds() -> dict[str, dict[str, str]]:
    """Variables of the processes of one kind; a module may name others."""
    return {}


@pytest.fixture(scope="module")
def own_servers(
    own_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OwnServers]:
    servers = OwnServers(tmp_path_factory.mktemp("servers"), own_environment)
    servers.start()
    yield servers
    servers.stop()


@pytest.fixture(scope="module")
def own_stack(
    own_environment: dict[str, str],
    environments_of_kinds: dict[str, dict[str, str]],
    own_servers: OwnServers,
    tmp_path_factory: pytest.TempPathFactory,
    short_times: dict[str, str],
) -> Iterator[Stack]:
    """A stack on the own servers that logs JSON and takes any number of images."""
    folder = tmp_path_factory.mktemp("stack")
    stack = Stack(
        folder / "data",
        folder,
        mongo_url=own_servers.mongo_url,
        redis_url=own_servers.redis_url,
        mongo_database=DATABASE,
        log_format="json",
        images_per_call="0",
        images_per_product="0",
        **short_times,
    )
    stack.environment |= own_environment
    assert environments_of_kinds.keys() <= set(stack.kinds)
    stack.environments = environments_of_kinds
    with running(stack):
        yield stack


@pytest.fixture
def rows(own_servers: OwnServers) -> Iterator[Rows]:
    with MongoClient[dict[str, Any]](own_servers.mongo_url) as client:
        yield Rows(client, DATABASE)
