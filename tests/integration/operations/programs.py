"""The programs of the Procfile, each by itself against the servers of the tests."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

from cli.processes import ROOT, procfile


def environment(folder: Path, /, **settings: str) -> dict[str, str]:
    """This process's environment with these settings and no others, and the commands in PATH."""
    return {
        **{n: v for n, v in os.environ.items() if not n.startswith(("SNAPSKU_", "FLOWER_"))},
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "SNAPSKU_DATA_DIR": str(folder),
        **{f"SNAPSKU_{name.upper()}": value for name, value in settings.items()},
    }


def command(kind: str) -> list[str]:
    """The command of a line of the Procfile."""
    return shlex.split(procfile()[kind].removeprefix("exec "))


def run(kind: str, variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a program that is expected to end by itself."""
    return subprocess.run(
        command(kind),
        cwd=ROOT,
        env=variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
