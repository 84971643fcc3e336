"""The docs: made pages are up to date, settings that are named exist, links lead on."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import pytest

from broker.queues import QUEUES
from catalog.rows.chunks import State
from cli.processes import ROOT
from config.settings import PREFIX, Settings, known_variables

DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
KNOWN = known_variables()
BY_NAME = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


@pytest.fixture(scope="module")
def made() -> dict[str, Any]:
    return dict(runpy.run_path(str(DOCS / "make_reference.py")))


@pytest.mark.parametrize("file", ["settings.md", "api.md"])
def test_a_page_that_is_made_from_the_code_is_up_to_date(made: dict[str, Any], file: str) -> None:
    found = (DOCS / file).read_text(encoding="utf-8")
    assert found == made["PAGES"][file](), "run: python docs/make_reference.py"


def test_every_setting_has_a_row(made: dict[str, Any]) -> None:
    page = made["settings_page"]()
    names = [PREFIX + field.upper() for field in Settings.model_fields]
    assert all(page.count(f"| `{name}` |") == 1 for name in names)


@BY_NAME
def test_every_setting_that_a_page_names_exists(page: Path) -> None:
    named = set(re.findall(rf"\b{PREFIX}[A-Z_]*[A-Z]", page.read_text(encoding="utf-8")))
    assert named <= KNOWN


@BY_NAME
def test_every_link_to_a_page_or_file_leads_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)", text):
        assert (DOCS / target).exists(), target


def test_every_page_is_linked_from_the_index() -> None:
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    assert [page.name for page in PAGES if page.name != "index.md" and page.name not in index] == []


def test_every_log_line_that_the_docs_explain_is_written_somewhere() -> None:
    table = (DOCS / "monitor.md").read_text(encoding="utf-8").partition("## Log lines")[2]
    lines = re.findall(r"(?m)^\| `([^`]+)` \|", table)
    code = "\n".join(
        path.read_text(encoding="utf-8")
        for folder in ("app", "broker", "catalog", "config", "indexer", "workers")
        for path in (ROOT / folder).rglob("*.py")
    )
    assert lines
    assert [line for line in lines if line not in code] == []


def test_the_architecture_tells_of_every_table_and_every_folder() -> None:
    page = (DOCS / "architecture.md").read_text(encoding="utf-8")
    store = "".join(p.read_text(encoding="utf-8") for p in (ROOT / "catalog").glob("*.py"))
    tables = set(re.findall(r"\b(?:rows|blobs)\[\"(\w+)\"\]", store))
    folders = {path.parent.name + "/" for path in ROOT.glob("*/__init__.py")}
    known = set(re.findall(r"`([\w/]+)`", page))
    assert {"images", "vectors", "schema"} <= tables
    assert tables <= known
    assert folders - {"samples/", "tests/"} <= known


def test_every_queue_and_state_is_told_of() -> None:
    page = (DOCS / "architecture.md").read_text(encoding="utf-8")
    assert [str(name) for name in (*QUEUES, *State) if f"`{name}`" not in page] == []
