"""The tables of docs/what-is-accepted.md, each row of which is a test."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "what-is-accepted.md"


def kinds(section: str) -> list[str]:
    """Return what stands first in each row of the table of a section."""
    text = PAGE.read_text(encoding="utf-8")
    (body,) = re.findall(rf"(?ms)^## {re.escape(section)}\n(.*?)(?=^## |\Z)", text)
    _, *rows = re.findall(r"(?m)^\| (?!---)(.+?) \| ", body)
    assert rows
    return rows
