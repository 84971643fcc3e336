"""A stack that wants keys; tests/node uses it, too."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from cli.processes import ROOT
from tests.e2e.conftest import SHORT_TIMES
from tests.e2e.stack import Stack, running
from tests.servers import Servers

Users = Callable[..., Any]


@pytest.fixture(scope="module")
def closed_stack(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack of its own, on a catalogue that no other test uses: its first key closes it."""
    stack = Stack(
        tmp_path_factory.mktemp("closed"),
        tmp_path_factory.mktemp("closed-logs"),
        mongo_url=servers.mongo_url,
        redis_url=servers.redis_url.replace("/0", "/7"),
        mongo_database=f"snapsku_closed_{uuid.uuid4().hex[:8]}",
        **SHORT_TIMES,
    )
    with running(stack, without="flower"):
        yield stack


@pytest.fixture(scope="module")
def users(closed_stack: Stack) -> Users:
    """Return a function that runs `snapsku users` and gives what it printed."""

    def called(*arguments: str) -> Any:
        ended = subprocess.run(
            [sys.executable, "-m", "cli.main", "users", *arguments],
            cwd=ROOT,
            env=closed_stack.environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert ended.returncode == 0, ended.stderr
        return json.loads(ended.stdout)

    return called


@pytest.fixture(scope="module")
def keys(closed_stack: Stack, users: Users) -> dict[str, str]:
    """The keys of the first user; before them the service served this machine."""
    url = f"{closed_stack.base_url}/v1/list_collections"
    assert requests.post(url, json={}, timeout=10).json()["code"] == "10000"
    made: dict[str, str] = users("add", "shop-1")
    assert requests.post(url, json={}, timeout=10).json()["code"] == "10042"
    return made
