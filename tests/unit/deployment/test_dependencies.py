"""Libraries whose inner parts are used have an upper bound, and the versions tested are allowed."""

from __future__ import annotations

import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from cli.processes import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
NEEDED = {one.name: one for one in map(Requirement, PROJECT["dependencies"])}
PINNED = {
    name.lower(): Version(version)
    for name, version in re.findall(
        r"(?m)^([\w.-]+)==(\S+)", (ROOT / "constraints.txt").read_text(encoding="utf-8")
    )
}


@pytest.mark.parametrize("name", ["billiard", "celery", "flower", "gunicorn", "kombu", "redis"])
def test_the_next_minor_version_of_a_library_whose_inner_parts_are_used_is_not_allowed(
    name: str,
) -> None:
    pinned = PINNED[name]
    assert f"{pinned.major}.{pinned.minor + 1}" not in NEEDED[name].specifier


@pytest.mark.parametrize("name", NEEDED)
def test_the_version_that_was_tested_is_allowed(name: str) -> None:
    assert PINNED[name] in NEEDED[name].specifier
