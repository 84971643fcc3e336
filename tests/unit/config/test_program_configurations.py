"""What gunicorn and Flower read: their own files, filled from the settings."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest
from gunicorn.util import parse_address

import app

ROOT = Path(app.__file__).parents[1]


def gunicorn() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "app/gunicorn_conf.py"))


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "::1",
    ],
)
def test_gunicorn_listens_on_the_host_and_port_of_the_settings(
    environment: pytest.MonkeyPatch, host: str
) -> None:
    environment.setenv("SNAPSKU_HOST", host)
    environment.setenv("SNAPSKU_PORT", "8123")
    assert parse_address(gunicorn()["bind"]) == (host, 8123)


def test_gunicorn_serves_with_threads_as_many_as_the_settings_say(
    environment: pytest.MonkeyPatch,
) -> None:
    environment.setenv("SNAPSKU_API_THREADS", "6")
    environment.setenv("SNAPSKU_API_PROCESSES", "2")
    found = gunicorn()
    assert (found["worker_class"], found["threads"], found["workers"]) == ("gthread", 6, 2)


def test_gunicorn_waits_longer_for_an_answer_than_a_search_may_take() -> None:
    from config.settings import settings

    assert gunicorn()["timeout"] > settings().search_seconds


def test_flower_listens_where_the_settings_say(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("SNAPSKU_FLOWER_PORT", "5556")
    found = runpy.run_path(str(ROOT / "workers/flower_conf.py"))
    assert (found["address"], found["port"]) == ("127.0.0.1", 5556)
