"""Real servers for the tests: embedded ones, or those that the environment names.

TEST_MONGO_URL and TEST_REDIS_URL name servers whose data the tests may erase.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from pydantic import SecretStr
from servers import Servers

from config.embedded import embedded_servers
from config.endpoints import read_endpoints
from config.settings import Settings


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --no-skips, with which CI makes sure that a missing program hides no test."""
    parser.addoption(
        "--no-skips", action="store_true", help="fail where a test was skipped, for whatever reason"
    )


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if session.config.getoption("--no-skips") and reporter and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    data_dir = tmp_path_factory.mktemp("servers")
    mongo_url = os.environ.get("TEST_MONGO_URL", "")
    redis_url = os.environ.get("TEST_REDIS_URL", "")
    settings = Settings(
        data_dir=data_dir, mongo_url=SecretStr(mongo_url), redis_url=SecretStr(redis_url)
    )
    with embedded_servers(settings):
        embedded = read_endpoints(data_dir)
        assert embedded is not None
        yield Servers(mongo_url or embedded.mongo_url, redis_url or embedded.redis_url, data_dir)
