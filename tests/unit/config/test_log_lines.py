"""What the log lines of a whole process hold, and what they never do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
#: A piece from the middle of the picture's Base64.
PICTURE = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwd"
SECRETS = ("s3cret", "hunter2", "aHVudGVyMg", PICTURE, "\\x00")


def written(form: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "tests.unit.config.log_writer", form],
        cwd=folder,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "SUPERVISOR_PROCESS_NAME": "fetch2",
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    return done.stderr


@pytest.fixture(scope="module")
def json_text(tmp_path_factory: pytest.TempPathFactory) -> str:
    return written("json", tmp_path_factory.mktemp("json"))


@pytest.fixture(scope="module")
def lines(json_text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in json_text.splitlines()]


def test_every_line_is_a_json_object_also_of_faults_warnings_and_libraries(
    lines: list[dict[str, Any]],
) -> None:
    assert len(lines) == 13
    for line in lines:
        assert {"event", "level", "logger", "timestamp"} <= set(line), line


def test_lines_hold_the_ids_that_are_bound_also_those_of_libraries(
    lines: list[dict[str, Any]],
) -> None:
    for line in lines:
        if line["event"] != "thread ends by an error":
            assert (line["request_id"], line["task_id"]) == ("r-1", "t-1"), line


def test_lines_name_the_process_as_its_supervisor_does(lines: list[dict[str, Any]]) -> None:
    assert {line["process"] for line in lines} == {"fetch2"}


@pytest.mark.parametrize("form", ["json", "console"])
def test_no_line_holds_a_query_a_credential_or_a_picture(
    form: str, json_text: str, tmp_path: Path
) -> None:
    text = json_text if form == "json" else written("console", tmp_path)
    for secret in SECRETS:
        assert secret not in text, next(n for n in text.splitlines() if secret in n)[:300]
    assert "shop.example/b.jpg" in text
    assert "--- Logging error ---" not in text


def test_a_fault_keeps_its_traceback_and_its_cause(lines: list[dict[str, Any]]) -> None:
    (line,) = [line for line in lines if line["event"] == "a fault"]
    assert "ValueError: bad 'http://shop.example/b.jpg?***' ***" in line["exception"]
    assert "OSError: redis://***@redis.internal:6379/0 and /c.jpg?***" in line["exception"]
    assert "direct cause" in line["exception"]
    assert "log_writer.py" in line["exception"]


def test_the_end_of_a_process_and_of_a_thread_by_an_error_are_lines(
    lines: list[dict[str, Any]],
) -> None:
    thread, process = lines[-2:]
    assert (thread["event"], thread["thread"]) == ("thread ends by an error", "worker thread")
    assert process["event"] == "process ends by an error"
    assert "ValueError" in process["exception"]
