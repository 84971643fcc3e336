"""Which test shows which code of which operation: python -m tests.contract_coverage.

The operations declare what they answer (app/operations/base.py); a test says what it shows by the
marker `answers`. A code that is declared and shown by no test is a hole, and the script ends
with 1; so it does where a test claims what no operation declares. A test that is skipped or
expected to fail shows nothing.
"""

from __future__ import annotations

import io
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent

#: Stands for an operation where any call may be answered so.
ANY = "any call"

#: In the table because the seed has them; the contract gives them to no operation.
NEVER = {
    "INVALID_PARAM_TOP_K": "of the older sibling, never answered",
    "INVALID_DOCS": "of the older sibling, never answered",
    "2011 INVALID_IMAGE_INFO": "shares its message with 3015, which is answered",
}


class Row(NamedTuple):
    """A code that an operation may answer, as a whole ("call") or in a failed_list ("item")."""

    operation: str
    place: str
    answer: str


def declared() -> dict[Row, str]:
    """Return every row that must be shown, with the number of its code."""
    from app.http.envelope import SystemCode
    from app.reference.openapi import HTTP_FAULTS
    from app.server import OPERATIONS
    from contract.errors import InvalidUserId

    rows: dict[Row, str] = {}
    for operation in OPERATIONS:
        for error in operation.all_codes:
            rows[Row(operation.name, "call", error.message)] = str(error.code)
        for error in operation.item_codes:
            rows[Row(operation.name, "item", error.message)] = str(error.code or "")
        rows[Row(operation.name, "call", SystemCode.BUSY.code)] = SystemCode.BUSY.code
    for status, error, _ in HTTP_FAULTS:
        rows[Row(ANY, "call", f"HTTP {status} {error.message}")] = str(error.code)
    for code in SystemCode:
        rows[Row(ANY, "call", code.code)] = code.code
    rows[Row(ANY, "call", InvalidUserId.message)] = str(InvalidUserId.code)
    return rows


def missing_from_the_declarations(rows: dict[Row, str]) -> list[str]:
    """Return the rows of the contract's table that no operation declares and NEVER lacks."""
    from contract.errors import TABLE, InvalidImageInfoOld

    told = {row.answer for row in rows} | {row.answer.rpartition(" ")[2] for row in rows}
    return [
        error.message
        for error in TABLE
        if error.message not in told and error.message not in NEVER
        if error is not InvalidImageInfoOld
    ]


class Collector:
    """A pytest plugin that notes what the collected tests show."""

    def __init__(self) -> None:
        self.shown: dict[Row, set[str]] = defaultdict(set)

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        for item in items:
            if any(item.iter_markers("skip")) or any(item.iter_markers("xfail")):
                continue
            for row in _rows_of(item):
                self.shown[row].add(item.nodeid.partition("[")[0])


def _rows_of(item: pytest.Item) -> Iterator[Row]:
    for marker in item.iter_markers("answers"):
        operation, *messages = marker.args
        yield from (Row(operation, "call", message) for message in messages)
        yield from (Row(operation, "item", message) for message in marker.kwargs.get("items", ()))


def modules() -> list[str]:
    """Return the test modules that use the marker, or a helper that does.

    To collect all the others as well would load torch and take four times as long.
    """
    texts = {path: path.read_text("utf-8") for path in (ROOT / "tests").rglob("*.py")}
    users = {path for path, text in texts.items() if "mark.answers" in text}
    helpers = {path.stem for path in users if not path.name.startswith("test_")}
    tiers = [ROOT / "tests" / kind for kind in ("unit", "integration", "e2e")]
    return sorted(
        str(path)
        for path, text in texts.items()
        if path.name.startswith("test_") and any(path.is_relative_to(tier) for tier in tiers)
        if path in users or any(helper in text for helper in helpers)
    )


def shown_by_tests() -> dict[Row, set[str]]:
    """Collect the modules that use the marker, and return the tests of each row."""
    collector = Collector()
    said = io.StringIO()
    arguments = ["--collect-only", "-q", "-p", "no:cacheprovider", f"--rootdir={ROOT}"]
    with redirect_stdout(said):
        ended = pytest.main([*arguments, *modules()], plugins=[collector])
    if ended is not pytest.ExitCode.OK:
        raise SystemExit(f"the tests can't be collected:\n{said.getvalue()[-3000:]}")
    return collector.shown


def main() -> int:
    """Print every row with its tests, then the holes; return the exit code."""
    rows, shown = declared(), shown_by_tests()
    faults = [f"no operation declares {message}" for message in missing_from_the_declarations(rows)]
    for row, code in rows.items():
        tests = sorted(shown.get(row, ()))
        said = ", ".join(tests) or "NO TEST"
        number = "" if code in row.answer else f"{code} "
        print(f"{row.operation:18} {row.place}  {number}{row.answer}: {said}")
        if not tests:
            faults.append(f"no test shows {row.operation} {row.place} {row.answer}")
    for message, why in NEVER.items():
        print(f"{'no operation':18}       {message}: {why}")
    faults += [
        f"{test} shows {row}, which no operation declares"
        for row in shown.keys() - rows.keys()
        for test in sorted(shown[row])
    ]
    print(f"{len(rows)} rows, {len(NEVER)} codes never answered, {len(faults)} faults")
    for fault in faults:
        print(f"FAULT: {fault}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
