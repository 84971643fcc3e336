"""The processes of the Procfile, run side by side by honcho."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

import honcho.manager
from honcho.environ import expand_processes, parse_procfile
from honcho.manager import Manager

ROOT = Path(__file__).resolve().parent.parent

#: What a process gets to finish its work after SIGTERM, before it is killed; seconds.
STOP_SECONDS = 30


class _OneProcess:
    """Signals for the process itself, not for its children: a pool's parent stops its own."""

    @staticmethod
    def terminate(process_id: int) -> None:
        _send(os.kill, process_id, signal.SIGTERM)

    @staticmethod
    def kill(process_id: int) -> None:
        _send(os.killpg, process_id, signal.SIGKILL)


def _send(send: object, process_id: int, number: signal.Signals) -> None:
    assert callable(send)  # noqa: S101
    try:
        send(process_id, number)
    except ProcessLookupError:
        # It ended by itself in between, which is what was wanted.
        return


def kinds() -> set[str]:
    """Give the kinds of process that the Procfile has."""
    return set(parse_procfile((ROOT / "Procfile").read_text(encoding="utf-8")).processes)


def run_procfile(concurrency: Mapping[str, int]) -> int:
    """Run every process of the Procfile until one ends or a signal comes; give the exit code.

    `concurrency` says how many of a kind to run, one where it does not name the kind.
    """
    # honcho has no setting for either; without them its SIGTERM ends a pool's children in the
    # middle of their work, and five seconds later everything.
    honcho.manager.KILL_WAIT = STOP_SECONDS
    manager = Manager()
    manager._procmgr = _OneProcess()
    environment = dict(os.environ)
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    environment["PYTHONUNBUFFERED"] = "1"
    procfile = parse_procfile((ROOT / "Procfile").read_text(encoding="utf-8"))
    for process in expand_processes(procfile.processes, dict(concurrency), environment):
        kind, _, number = process.name.partition(".")
        # Two workers of one name would be one to Celery's remote control and to Flower.
        command = (
            process.cmd if number == "1" else process.cmd.replace(f" {kind}@", f" {kind}{number}@")
        )
        manager.add_process(process.name, command, env=process.env, cwd=str(ROOT))
    manager.loop()
    return int(manager.returncode or 0)
