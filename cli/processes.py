"""Run the processes of the Procfile and the embedded servers under supervisord.

supervisord gets a configuration that is generated here, and restarts whatever ends.
"""

from __future__ import annotations

import errno
import io
import os
import re
import shlex
import signal
import string
import subprocess
import sys
from collections.abc import Iterable, Mapping
from configparser import RawConfigParser
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, NoReturn

from cli import preflight
from cli.readiness import told_when_ready
from config import embedded
from config.data_directory import lock_file, owned
from config.embedded import Server, endpoints, wanted_servers
from config.endpoints import announced
from config.refusal import REFUSED
from config.secret_files import chosen_files, file_variables
from config.settings import (
    DEFAULT_SETTINGS_FILE,
    PREFIX,
    SETTINGS_FILE_VARIABLE,
    Settings,
    SettingsError,
)

ROOT = Path(__file__).resolve().parent.parent

#: Seconds that a process has after SIGTERM to finish its work before it is killed.
STOP_SECONDS = 30

#: Kinds that run once: two would compete for a port or a directory, or send all twice.
ONCE = frozenset({"api", "index", "beat", "flower"})

#: Groups start in this order and stop in reverse, since workers need the servers.
SERVERS, PROCESSES = "servers", "processes"


@dataclass(frozen=True)
class Program:
    """A program that supervisord keeps running."""

    name: str
    command: list[str]
    group: str = PROCESSES
    stop_seconds: float = STOP_SECONDS
    #: For `cli.launch`, besides those that all programs have.
    launch_options: list[str] = field(default_factory=list)


def procfile() -> dict[str, str]:
    """Return the commands of the Procfile by kind of process."""
    lines = (ROOT / "Procfile").read_text(encoding="utf-8").splitlines()
    pairs = (line.split(":", 1) for line in lines if line.strip() and not line.startswith("#"))
    return {kind.strip(): command.strip() for kind, command in pairs}


def programs_of_procfile(concurrency: Mapping[str, int]) -> list[Program]:
    """Return the programs of the Procfile: `concurrency` of a kind, or one."""
    return [
        program_of_procfile(kind if number == 1 else f"{kind}{number}")
        for kind in procfile()
        for number in range(1, concurrency.get(kind, 1) + 1)
    ]


def program_of_procfile(name: str) -> Program:
    """Return a program of the Procfile by its name: its kind, and a number if there are several.

    Raises ValueError if the Procfile has no such kind.
    """
    kind = name.rstrip(string.digits)
    line = procfile().get(kind)
    if line is None:
        raise ValueError(f"the Procfile has no {kind!r}")
    # Two workers of one name would be one to Celery's remote control and to Flower.
    command = line.removeprefix("exec ").replace(f" {kind}@", f" {name}@")
    return Program(name, shlex.split(command))


def become(program: Program) -> NoReturn:
    """Replace this process by a program, which finds the commands of this Python in its PATH."""
    os.execvpe(program.command[0], program.command, _environment())  # noqa: S606


def _environment() -> dict[str, str]:
    """Return the environment of programs, in which they find the commands of this Python."""
    return {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "PYTHONUNBUFFERED": "1",
    }


def programs_of_servers(data_dir: Path, servers: Iterable[Server]) -> list[Program]:
    """Return the programs of embedded servers, each of which holds the data directory."""
    found = []
    for server in servers:
        options = ["--hold", str(lock_file(data_dir))]
        if server.leftover is not None:
            options += ["--leftover", str(server.leftover)]
        found.append(Program(server.name, server.command, SERVERS, embedded.STOP_SECONDS, options))
    return found


def launched(command: list[str], parent_file: Path, *options: str) -> list[str]:
    """Return the command that runs `command` through `cli.launch`."""
    launch = str(Path(__file__).with_name("launch.py"))
    return [
        *(sys.executable, "-I", "-S", launch, "--parent", str(parent_file)),
        *(*options, "--", *command),
    ]


def _quoted(words: list[str]) -> str:
    # supervisord takes a ; or # after a space for a comment even within quotes, and % for
    # the start of a name.
    return " ".join(re.sub(r"([^\w@+=:,./%-])", r"\\\1", w) or "''" for w in words).replace(
        "%", "%%"
    )


def supervisor_pid_file(run_dir: Path) -> Path:
    """Return the file that holds the process id of the supervisor."""
    return run_dir / "supervisord.pid"


def configuration(programs: Iterable[Program], run_dir: Path) -> str:
    """Return supervisord's configuration.

    `run_dir` holds files that matter only while it runs.
    """
    made = RawConfigParser()
    made["supervisord"] = {"nodaemon": "true", "loglevel": "info"}
    if os.geteuid() == 0:
        made["supervisord"]["user"] = "root"  # otherwise it warns
    groups: dict[str, list[str]] = {SERVERS: [], PROCESSES: []}
    for program in programs:
        groups[program.group].append(program.name)
        started = str(run_dir / f"{program.name}.started")
        command = launched(
            program.command,
            supervisor_pid_file(run_dir),
            *("--started", started),
            *program.launch_options,
        )
        made[f"program:{program.name}"] = {
            "command": _quoted(command),
            # Restart whatever ends, even cleanly, except after a refusal. supervisord checks the
            # exit code only of a program that counts as started, so all count from their first
            # moment on; `cli.launch` makes the pauses.
            "autorestart": "unexpected",
            "exitcodes": str(REFUSED),
            "startsecs": "0",
            # Only for spawns that the system refuses.
            "startretries": "1000000",
            # To the process alone: the parent of a pool stops its own children.
            "stopsignal": "TERM",
            "stopasgroup": "false",
            "killasgroup": "true",
            "stopwaitsecs": str(int(program.stop_seconds)),
            "redirect_stderr": "true",
            "stdout_logfile": "/dev/fd/1",
            "stdout_logfile_maxbytes": "0",
        }
    for priority, (group, names) in enumerate(groups.items(), 1):
        if names:
            made[f"group:{group}"] = {"programs": ",".join(names), "priority": str(priority)}
    text = io.StringIO()
    made.write(text)
    return text.getvalue()


def absolute_paths(chosen: Settings) -> dict[str, str]:
    """Return the variables that have a process in another folder read the same settings."""
    path = Path(os.environ.get(SETTINGS_FILE_VARIABLE) or DEFAULT_SETTINGS_FILE)
    named = chosen_files(os.environ, file_variables(Settings, PREFIX))
    found = {f"{PREFIX}{key.upper()}": value for key, value in named.items() if value}
    if path.is_file():
        found[SETTINGS_FILE_VARIABLE] = str(path)
    found[f"{PREFIX}DATA_DIR"] = str(chosen.data_dir)
    return {name: str(Path(value).resolve()) for name, value in found.items()}


def run_stack(settings: Settings, concurrency: Mapping[str, int]) -> int:
    """Run all processes and the embedded servers until a signal comes.

    Returns 0 after a signal, 1 if the supervisor ended by itself. Raises SettingsError, before
    anything is started, if the data directory or a server can't be used: DataDirectoryInUseError
    if another stack uses it, PreflightError for what `cli.preflight` finds.
    """
    data_dir = settings.data_dir.resolve()
    numbers = {kind: concurrency.get(kind, 1) for kind in procfile()}
    with owned(data_dir):
        preflight.require(settings, numbers, ROOT)
        try:
            servers = wanted_servers(settings)
            run_dir = data_dir / "run"
            run_dir.mkdir(exist_ok=True)
            for file in (*run_dir.glob("*.started"), supervisor_pid_file(run_dir)):
                file.unlink(missing_ok=True)
            file = run_dir / "supervisord.conf"
            programs = [*programs_of_servers(data_dir, servers), *programs_of_procfile(concurrency)]
            file.write_text(configuration(programs, run_dir), encoding="utf-8")
        except OSError as error:
            raise SettingsError(
                f"{error.filename or data_dir} can't be used ({error.strerror}); remove it, or set "
                "SNAPSKU_DATA_DIR to another folder"
            ) from error
        with (
            announced(data_dir, endpoints(servers)),
            told_when_ready(settings, numbers, _say),
        ):
            return _supervise(data_dir, file)


def _say(text: str) -> None:
    # Not told where the output's disk is full, or its terminal closed: the stack runs all the same.
    with suppress(OSError):
        print(text, flush=True)


def supervisor_command(file: Path) -> list[str]:
    """Return the command that runs supervisord with the configuration `file`."""
    return [
        *(sys.executable, "-m", "supervisor.supervisord", "--configuration", str(file)),
        *("--pidfile", str(supervisor_pid_file(file.parent)), "--logfile", os.devnull),
    ]


def _supervise(data_dir: Path, file: Path) -> int:
    supervisor = subprocess.Popen(  # noqa: S603
        launched(supervisor_command(file), lock_file(data_dir)),
        cwd=ROOT,
        env=_environment(),
        # A session of its own, so that a signal of the terminal reaches this process alone, which
        # passes it on once. A pipe, because supervisord opens its output a second time for the
        # programs: they would overwrite each other in a file, and the socket of a journal can't be
        # opened.
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    asked = []

    def stop(number: int, _frame: object) -> None:
        asked.append(number)
        supervisor.terminate()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup has it ignored
        signal.signal(signal.SIGHUP, stop)
    assert supervisor.stdout is not None  # noqa: S101
    _hand_on(supervisor.stdout)
    code = supervisor.wait()
    if asked:
        return 0
    print(
        f"snapsku: the supervisor ended ({code}), and with it all that it ran; "
        "start `snapsku up` again",
        file=sys.stderr,
    )
    return 1


def _hand_on(output: IO[bytes]) -> None:
    """Copy the supervisor's output to our own until it ends."""
    is_open = True
    while some := os.read(output.fileno(), 65_536):
        if not is_open:
            continue
        try:
            sys.stdout.buffer.write(some)
            sys.stdout.buffer.flush()
        except OSError as error:
            # The terminal was closed: read on, so that the stack, which is stopping, is not
            # blocked. A disk that is full may have room again.
            is_open = error.errno == errno.ENOSPC
