"""Fail where something is installed that constraints.txt does not pin: `python check_pins.py`.

Looks at what the project needs, for development too where that is installed, and what those
packages need. pip itself comes with Python.
"""

from __future__ import annotations

import re
import sys
from importlib.metadata import Distribution, distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PROJECT = "snapsku"


def pins(text: str) -> dict[str, str]:
    """Return the versions that constraints pin, by canonical name."""
    lines = re.findall(r"(?m)^([\w.-]+)==([^\s;]+)", text)
    return {canonicalize_name(name): version for name, version in lines}


def needed() -> dict[str, str]:
    """Return the installed version of whatever the project needs, by canonical name.

    Raises LookupError if the project itself is not installed.
    """
    installed: dict[str, Distribution] = {
        canonicalize_name(each.name): each for each in distributions()
    }
    if PROJECT not in installed:
        raise LookupError(f"{PROJECT} is not installed")
    found: dict[str, str] = {}
    seen: set[tuple[str, str]] = set()
    waiting = [(PROJECT, ""), (PROJECT, "dev")]
    while waiting:
        name, extra = waiting.pop()
        # Missing: of an extra that was not chosen, or left out of an image.
        if name not in installed or (name, extra) in seen:
            continue
        seen.add((name, extra))
        found[name] = installed[name].version
        for need in map(Requirement, installed[name].requires or []):
            if need.marker is None or need.marker.evaluate({"extra": extra}):
                waiting += [(canonicalize_name(need.name), each) for each in ("", *need.extras)]
    return {name: version for name, version in found.items() if name not in (PROJECT, "pip")}


def unpinned(installed: dict[str, str], pinned: dict[str, str]) -> list[str]:
    """Return a line for each package that is not pinned, or has another version.

    A build, such as `2.14.1+cpu`, is that of its version.
    """
    return [
        f"{name} {version}: constraints.txt has {pinned.get(name, 'no line for it')}"
        for name, version in sorted(installed.items())
        if version.partition("+")[0] != pinned.get(name, "").partition("+")[0]
    ]


if __name__ == "__main__":
    faults = unpinned(needed(), pins((ROOT / "constraints.txt").read_text(encoding="utf-8")))
    print("\n".join(faults) or "everything is pinned")
    sys.exit(bool(faults))
