"""The README and the pages beside it lead somewhere, and name commands that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from PIL import Image

from cli.processes import ROOT, procfile

README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = sorted(ROOT.glob("*.md"))
TARGETS = set(re.findall(r"(?m)^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8")))

#: What people look for beside a README.
EXPECTED = {"CHANGELOG.md", "CODE_OF_CONDUCT.md", "CONTRIBUTING.md", "README.md", "SECURITY.md"}


def links(text: str) -> list[str]:
    return re.findall(r"\]\((?!https?:)([^)#]+)", text)


def commands(text: str) -> list[str]:
    """Return the indented commands of a page, in their order."""
    return re.findall(r"(?m)^    (\w.*)$", text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_of_a_page_to_a_file_leads_to_one(page: Path) -> None:
    found = links(page.read_text(encoding="utf-8"))
    assert [link for link in found if not (ROOT / link).exists()] == []


@pytest.mark.parametrize(
    "page", [*PAGES, *sorted((ROOT / "docs").glob("*.md"))], ids=lambda page: page.name
)
def test_every_make_command_of_a_page_is_in_the_makefile(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    named = set(re.findall(r"(?:`|^    |=\S+ )make ([a-z-]+)", text, re.MULTILINE))
    assert named <= TARGETS


def test_the_pages_that_people_look_for_are_there_and_linked_from_the_readme() -> None:
    assert {page.name for page in PAGES} == EXPECTED
    assert EXPECTED - {"README.md"} <= set(links(README))


def test_the_readme_begins_with_the_demo_and_the_suite() -> None:
    assert commands(README)[:2] == ["make demo", "make test"]


def test_the_readme_shows_a_picture_of_the_demo_before_its_first_command() -> None:
    (picture,) = re.findall(r"!\[[^]]+\]\(([^)]+)\)", README.partition("    make demo")[0])
    assert (ROOT / picture).stat().st_size < 300_000
    with Image.open(ROOT / picture, formats=["PNG"]) as image:
        assert image.width >= 800


def test_the_readme_has_a_row_for_each_process_with_its_queues_and_pool() -> None:
    rows = {
        cells[0]: cells
        for cells in (
            [cell.strip() for cell in line.strip("|").split("|")] for line in README.splitlines()
        )
        if len(cells) == 4
    }
    for kind, command in procfile().items():
        words = command.split()
        queues = words[words.index("-Q") + 1].split(",") if "-Q" in words else []
        assert rows[kind][1] == ", ".join(f"`{queue}`" for queue in queues)
        if "-P" in words:
            assert rows[kind][2] == words[words.index("-P") + 1]
