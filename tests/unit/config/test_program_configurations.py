"""What gunicorn and Flower read: their own files, filled from the settings."""

from __future__ import annotations

import runpy
import stat
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.util import load_class, parse_address
from gunicorn.workers.gthread import ThreadWorker

import app
from config.refusal import REFUSED
from config.settings import settings

ROOT = Path(app.__file__).parents[1]


def gunicorn() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "app/serving/gunicorn_conf.py"))


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
    assert (found["threads"], found["workers"]) == (6, 2)
    assert issubclass(load_class(found["worker_class"]), ThreadWorker)


def test_gunicorn_waits_longer_for_an_answer_than_a_search_may_take() -> None:
    assert gunicorn()["timeout"] > settings().search_seconds


@pytest.fixture
def flower(environment: pytest.MonkeyPatch) -> Callable[[], dict[str, Any]]:
    """Return a function that reads Flower's file; the log of the test run stays as it is."""
    environment.setattr("broker.flower_settings.configure_logging", lambda _: None)
    return lambda: runpy.run_path(str(ROOT / "broker/flower_conf.py"))


Flower = Callable[[], dict[str, Any]]


def test_flower_listens_where_the_settings_say(
    environment: pytest.MonkeyPatch, flower: Flower
) -> None:
    environment.setenv("SNAPSKU_FLOWER_PORT", "5556")
    found = flower()
    assert (found["address"], found["port"]) == ("127.0.0.1", 5556)
    assert "basic_auth" not in found


def test_flower_remembers_as_many_tasks_as_the_settings_say(
    environment: pytest.MonkeyPatch, flower: Flower
) -> None:
    environment.setenv("SNAPSKU_FLOWER_TASKS", "120")
    assert flower()["max_tasks"] == 120


def test_flower_asks_for_the_password_that_is_set(
    environment: pytest.MonkeyPatch, flower: Flower
) -> None:
    environment.setenv("SNAPSKU_FLOWER_USER", "operator")
    environment.setenv("SNAPSKU_FLOWER_PASSWORD", "pass,word:1")
    assert flower()["basic_auth"] == ["operator:pass,word:1"]


def test_flower_without_a_password_makes_one_before_it_listens_beyond_loopback(
    environment: pytest.MonkeyPatch,
    flower: Flower,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    environment.setenv("SNAPSKU_HOST", "0.0.0.0")  # noqa: S104
    environment.setenv("SNAPSKU_DATA_DIR", str(tmp_path))
    (login,) = flower()["basic_auth"]
    file = tmp_path / "flower.password"
    assert login == "admin:" + file.read_text(encoding="ascii").strip()
    assert len(login) > 40
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    # The same at the next start, and shown nowhere.
    assert flower()["basic_auth"] == [login]
    told = capsys.readouterr()
    assert login.partition(":")[2] not in told.out + told.err


@pytest.mark.parametrize("content", [None, b"", b"\n", b"cut off"])
def test_flower_does_not_listen_beyond_loopback_where_it_has_no_password(
    environment: pytest.MonkeyPatch,
    flower: Flower,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    content: bytes | None,
) -> None:
    environment.setenv("SNAPSKU_HOST", "0.0.0.0")  # noqa: S104
    environment.setenv("SNAPSKU_DATA_DIR", str(tmp_path))
    file = tmp_path / "flower.password"
    if content is None:
        file.mkdir()
    else:
        file.write_bytes(content)
    with pytest.raises(SystemExit) as caught:
        flower()
    assert caught.value.code == REFUSED
    (line,) = capsys.readouterr().err.splitlines()
    assert "SNAPSKU_FLOWER_PASSWORD" in line


PICTURE = "iVBORw0KGgo" * 30


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("('chunk-12', 1)", "chunk-12, 1"),
        ("([7, 8, 9],)", "7, 8, 9"),
        ("([7, 8, ...],)", "7, 8, ..."),
        ("('0f3a.70', 'g-1', '鞋靴', 70)", "0f3a.70, g-1, 鞋靴, 70"),
        ("('0f3a.70', 'g-1', None, 70)", "0f3a.70, g-1, None, 70"),
        ("()", "()"),
        (None, None),
        ("('http://shop.example/a.jpg?token=s3cret',)", "(not shown)"),
        ("('http://shop.example/a.jpg',)", "(not shown)"),
        (f"('{PICTURE}',)", "(not shown)"),
        ("(b'bytes',)", "(not shown)"),
        ("({'password': 'hunter2'},)", "(not shown)"),
        ("('chunk-12', ", "(not shown)"),
        ("<Chunk object at 0x7f>", "(not shown)"),
        ("(" * 500, "(not shown)"),
    ],
)
def test_flower_shows_arguments_that_we_send_and_masks_all_others(
    flower: Flower, sent: str | None, shown: str | None
) -> None:
    task = SimpleNamespace(args=sent, kwargs="{}", result=None, exception=None, traceback=None)
    assert flower()["format_task"](task).args == shown


def test_flower_shows_no_secret_of_a_fault(flower: Flower) -> None:
    fault = f"OSError('http://u:hunter2@shop.example/a.jpg?token=s3cret', '{PICTURE}')"
    task = SimpleNamespace(args="()", kwargs="{}", result=fault, exception=fault, traceback=fault)
    found = flower()["format_task"](task)
    for text in (found.result, found.exception, found.traceback):
        assert "shop.example/a.jpg" in text
        assert not any(secret in text for secret in ("hunter2", "s3cret", PICTURE))
