"""Print what the image installs, a requirement a line: `python image_requirements.py base|torch`.

torch has a layer of its own, since it is larger than all else and the default models do not need
it. A suffix after `torch`, such as `+cpu`, asks for that build of the versions in constraints.txt.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

#: What is torch, or needs it to be imported.
TORCH = ("torch", "torchvision", "efficientnet-lite-pytorch")
#: Those of them that have builds for one kind of processor.
BUILDS = ("torch", "torchvision")


def _name(requirement: str) -> str:
    return re.split(r"[^\w.-]", requirement, maxsplit=1)[0].lower()


def _dependencies(root: Path) -> list[str]:
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found: list[str] = project["dependencies"]
    return found


def base(root: Path = ROOT) -> list[str]:
    """Return the requirements of the project that do without torch."""
    return [each for each in _dependencies(root) if _name(each) not in TORCH]


def torch(root: Path = ROOT, build: str = "") -> list[str]:
    """Return torch and what needs it; `build`, such as "+cpu", asks for that build alone."""
    found = [each for each in _dependencies(root) if _name(each) in TORCH]
    if not build:
        return found
    text = (root / "constraints.txt").read_text(encoding="utf-8")
    pinned = dict(re.findall(r"(?m)^([\w.-]+)==([^\s;]+)", text))
    return [
        f"{_name(each)}=={pinned[_name(each)]}{build}" if _name(each) in BUILDS else each
        for each in found
    ]


if __name__ == "__main__":
    layer, *suffix = sys.argv[1:]
    print("\n".join(base() if layer == "base" else torch(ROOT, *suffix)))
