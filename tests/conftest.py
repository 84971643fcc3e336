"""Real servers for the tests: embedded ones, or those that the environment names.

TEST_MONGO_URL and TEST_REDIS_URL name servers whose data the tests may erase; one process alone
may run tests then. Embedded servers are each process's own.
--catalogue-server chooses another document database than the embedded one; see
docs/own-servers.md.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from pydantic import SecretStr

import vision  # noqa: F401  # silences ONNX Runtime before a test module imports that
from config.embedded import embedded_servers
from config.endpoints import read_endpoints
from config.settings import Settings
from tests.servers import Servers
from tests.witness_server import secantusdb

#: The document databases that the suite can start, the usual one first.
CATALOGUE_SERVERS = ("nx-27017", "secantusdb")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of this suite.

    CI says --no-skips to make sure that a missing program hides no test, and runs a part of the
    suite a second time with another --catalogue-server.
    """
    parser.addoption(
        "--no-skips", action="store_true", help="fail where a test was skipped, for whatever reason"
    )
    parser.addoption(
        "--catalogue-server",
        choices=CATALOGUE_SERVERS,
        default=CATALOGUE_SERVERS[0],
        help="which document database is started, unless TEST_MONGO_URL names one",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Refuse to let several processes erase each other's data on servers of the environment."""
    is_named = {"TEST_MONGO_URL", "TEST_REDIS_URL"} & os.environ.keys()
    if is_named and (config.getoption("numprocesses", None) or 1) > 1:
        raise pytest.UsageError(f"one process alone may use {min(is_named)}: PROCESSES=1")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests that show a fault of the chosen server, by their marker."""
    server = config.getoption("--catalogue-server")
    left_out = [
        item for item in items if server in [m.args[0] for m in item.iter_markers("not_on")]
    ]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if session.config.getoption("--no-skips") and reporter and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session")
def servers(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Servers]:
    data_dir = tmp_path_factory.mktemp("servers")
    redis_url = os.environ.get("TEST_REDIS_URL", "")
    with ExitStack() as stack:
        mongo_url = os.environ.get("TEST_MONGO_URL", "")
        if not mongo_url and request.config.getoption("--catalogue-server") == "secantusdb":
            mongo_url = stack.enter_context(secantusdb(tmp_path_factory.mktemp("secantusdb")))
        settings = Settings(
            data_dir=data_dir, mongo_url=SecretStr(mongo_url), redis_url=SecretStr(redis_url)
        )
        stack.enter_context(embedded_servers(settings))
        embedded = read_endpoints(data_dir)
        assert embedded is not None
        yield Servers(mongo_url or embedded.mongo_url, redis_url or embedded.redis_url, data_dir)
