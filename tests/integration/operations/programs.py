"""The programs of the Procfile, each by itself against the servers of the tests."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

from cli.processes import ROOT, procfile
from config.embedded import free_port
from tests.integration.operations.raw_client import CLIENT_SECONDS, Served
from tests.servers import Servers

START_SECONDS = 100.0


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


@contextmanager
def serving(
    servers: Servers,
    folder: Path,
    client_seconds: float = CLIENT_SECONDS,
    database: str = "snapsku_surface",
) -> Iterator[tuple[Served, subprocess.Popen[bytes]]]:
    """Run the API on a port of its own, and yield where, and its process, which must end well."""
    found = Served(free_port(), folder / "api.log")
    with found.log.open("wb") as log:
        process = subprocess.Popen(
            command("api"),
            cwd=ROOT,
            env=environment(
                folder,
                redis_url=servers.redis_url,
                mongo_url=servers.mongo_url,
                mongo_database=database,
                port=str(found.port),
                log_format="json",
                client_seconds=str(client_seconds),
                clients_bytes=str(32 * 2**20),
                clients_per_process="200",
                search_seconds="0.2",
            ),
            stdout=log,
            stderr=log,
        )
    try:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            assert process.poll() is None, found.log.read_text("utf-8")
            try:
                requests.get(f"{found.url}/healthz", timeout=5)
                break
            except requests.ConnectionError:
                time.sleep(0.1)
        yield found, process
    finally:
        process.terminate()
        assert process.wait(45) == 0
