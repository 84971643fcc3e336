"""Every code that an operation declares has a test that names it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests import contract_coverage
from tests.contract_coverage import ANY, Row, declared

ROOT = Path(contract_coverage.__file__).parents[1]


def test_no_code_of_any_operation_is_without_a_test() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "tests.contract_coverage"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=280,
    )
    faults = [line for line in ended.stdout.splitlines() if line.startswith("FAULT")]
    assert (ended.returncode, faults) == (0, []), ended.stderr


def told(monkeypatch: pytest.MonkeyPatch, shown: dict[Row, set[str]]) -> int:
    monkeypatch.setattr(contract_coverage, "shown_by_tests", lambda: shown)
    return contract_coverage.main()


def complete() -> dict[Row, set[str]]:
    return {row: {"a test"} for row in declared()}


def test_the_script_ends_well_where_everything_has_a_test(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert told(monkeypatch, complete()) == 0
    assert "NO TEST" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "row",
    [
        Row("delete_image", "call", "DELETE_IMAGE_ERROR"),
        Row("add_image", "item", "IMAGE_TOO_LARGE"),
        Row("list_tasks", "call", "10020"),
        Row(ANY, "call", "HTTP 415 INVALID_PARAMETER_JSON"),
    ],
    ids=str,
)
def test_the_script_ends_with_1_at_a_hole(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], row: Row
) -> None:
    shown = complete()
    del shown[row]
    assert told(monkeypatch, shown) == 1
    assert f"FAULT: no test shows {row.operation} {row.place} {row.answer}" in (
        capsys.readouterr().out
    )


@pytest.mark.parametrize(
    "row",
    [
        Row("add_image", "item", "INVALID_DOCS"),
        Row("no_such_operation", "call", "INVALID_PRODUCT_ID"),
        Row(ANY, "call", "10099"),
    ],
    ids=str,
)
def test_the_script_ends_with_1_where_a_test_claims_too_much(
    monkeypatch: pytest.MonkeyPatch, row: Row
) -> None:
    assert told(monkeypatch, complete() | {row: {"a test"}}) == 1
