"""A stack, and a folder with the packages of Node.js; skipped where there are none."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.client import Api
from tests.e2e.clients.conftest import closed_stack, keys, users
from tests.e2e.conftest import SHORT_TIMES
from tests.e2e.stack import Stack, running
from tests.servers import Servers

HERE = Path(__file__).parent

__all__ = ["closed_stack", "keys", "users"]

#: Runs a program of Node.js in the folder with the packages, and returns what it printed.
Run = Callable[..., str]


@pytest.fixture(scope="session")
def stack(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack of its own, beside that of tests/e2e if both are run at once."""
    stack = Stack(
        tmp_path_factory.mktemp("node-stack"),
        tmp_path_factory.mktemp("logs"),
        mongo_url=servers.mongo_url,
        redis_url=servers.redis_url.replace("/0", "/8"),
        mongo_database="snapsku_node",
        **SHORT_TIMES,
    )
    with running(stack):
        yield stack


@pytest.fixture
def api(stack: Stack) -> Iterator[Api]:
    client = Api(stack.base_url)
    yield client
    client.close()


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return a function that runs a program; the first use installs the packages."""
    if shutil.which("npm") is None:
        pytest.skip("no npm command: install Node.js 20 with npm")
    folder = tmp_path_factory.mktemp("node")
    for source in HERE.iterdir():
        if source.suffix in (".json", ".ts", ".js", ".cjs"):
            shutil.copy(source, folder)

    def running(*command: str) -> str:
        ended = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=300, check=False
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    running("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
    return running
