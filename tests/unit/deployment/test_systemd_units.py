"""The systemd units start what the Procfile starts, and stop it gently."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from cli.processes import ROOT, STOP_SECONDS, procfile
from config.refusal import REFUSED

UNITS = ROOT / "deploy" / "systemd"
PROGRAMS = "/opt/snapsku/.venv/bin/"


def lines(path: Path) -> list[tuple[str, str]]:
    """Return the assignments of a unit in their order; a key may come more than once."""
    pairs = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if line and line[0] not in "#[":
            key, _, value = line.partition("=")
            pairs.append((key, value))
    return pairs


def value(path: Path, key: str) -> str:
    found = [value for name, value in lines(path) if name == key]
    assert len(found) == 1, (path, key, found)
    return found[0]


def command(path: Path) -> list[str]:
    return shlex.split(value(path, "ExecStart"))


def test_a_unit_runs_the_process_of_the_procfile_that_it_is_named_after() -> None:
    assert command(UNITS / "snapsku@.service") == [f"{PROGRAMS}snapsku", "run", "%i"]
    assert [path.name for path in UNITS.glob("*.d")] == []


def test_the_guide_enables_every_kind() -> None:
    guide = (ROOT / "docs" / "deploy-one-machine.md").read_text(encoding="utf-8")
    (line,) = re.findall(r"^systemctl enable (snapsku\.target .*)$", guide, re.MULTILINE)
    told = subprocess.run(
        ["/bin/sh", "-c", f"echo {line}"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert told.stdout.split() == ["snapsku.target", *(f"snapsku@{kind}" for kind in procfile())]


def test_a_unit_starts_and_stops_with_the_target() -> None:
    assert value(UNITS / "snapsku@.service", "WantedBy") == "snapsku.target"
    assert value(UNITS / "snapsku@.service", "PartOf") == "snapsku.target"


@pytest.mark.parametrize("file", ["snapsku@.service", "snapsku-up.service"])
def test_a_service_is_not_root_comes_back_and_its_children_get_no_signal(file: str) -> None:
    unit = UNITS / file
    assert value(unit, "User") == "snapsku"
    assert value(unit, "Restart") == "always"
    assert int(value(unit, "RestartSec")) > 0
    assert value(unit, "RestartPreventExitStatus") == str(REFUSED)
    assert value(unit, "StartLimitIntervalSec") == "0"
    assert value(unit, "KillMode") == "mixed"
    assert value(unit, "NoNewPrivileges") == "yes"


def test_a_process_has_longer_to_stop_than_the_work_that_it_ends() -> None:
    assert value(UNITS / "snapsku@.service", "TimeoutStopSec") == "40"
    assert STOP_SECONDS < 40


def test_the_whole_stack_has_longer_to_stop_than_its_parts() -> None:
    assert command(UNITS / "snapsku-up.service") == [f"{PROGRAMS}snapsku", "up"]
    assert int(value(UNITS / "snapsku-up.service", "TimeoutStopSec")) > 2 * STOP_SECONDS


def test_the_processes_of_a_machine_share_their_settings() -> None:
    assert value(UNITS / "snapsku@.service", "EnvironmentFile") == "/etc/snapsku/snapsku.env"
