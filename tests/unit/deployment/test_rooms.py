"""What keeps the folders such that a reader finds the way in them."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
SERVICE = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests", "tools"}
LINES = 400
MODULES = {"service": 15, "tests": 25}


def modules(folder: Path) -> list[Path]:
    return [path for path in folder.glob("*.py") if path.name != "__init__.py"]


def folders(*tops: str) -> list[Path]:
    found = [ROOT / top for top in tops]
    return found + [path.parent for one in found for path in one.rglob("*/__init__.py")]


def test_no_module_has_more_lines_than_a_reader_takes_in() -> None:
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines())
        for top in (*SERVICE, "tests", "tools")
        for path in (ROOT / top).rglob("*.py")
    }
    assert len(lengths) > 300
    assert {path: n for path, n in lengths.items() if n > LINES} == {}


@pytest.mark.parametrize(
    ("tops", "most"),
    [(tuple(SERVICE), MODULES["service"]), (("tests",), MODULES["tests"])],
    ids=["service", "tests"],
)
def test_no_folder_has_more_modules_than_a_reader_overlooks(
    tops: tuple[str, ...], most: int
) -> None:
    counts = {str(one.relative_to(ROOT)): len(modules(one)) for one in folders(*tops)}
    assert len(counts) > 10
    assert {path: n for path, n in counts.items() if n > most} == {}


@pytest.mark.parametrize("name", ["utils", "common", "helpers", "misc"])
def test_no_module_has_a_name_that_says_nothing(name: str) -> None:
    tops = (*SERVICE, "tests", "tools")
    assert [path for top in tops for path in (ROOT / top).rglob(f"{name}*")] == []
