"""One version number: that of pyproject.toml."""

from __future__ import annotations

import re
import tomllib

from cli.processes import ROOT
from config.version import VERSION


def test_the_version_is_that_of_pyproject() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["version"] == VERSION, "run: make setup"


def test_no_module_of_the_service_writes_a_version_of_snapsku_down() -> None:
    folders = ("app", "backup", "catalog", "cli", "config", "download", "identity", "workers")
    written = re.compile(r"snapsku[/: -]v?\d")
    found = [
        str(path.relative_to(ROOT))
        for folder in folders
        for path in (ROOT / folder).rglob("*.py")
        if written.search(path.read_text(encoding="utf-8"))
    ]
    assert found == []
