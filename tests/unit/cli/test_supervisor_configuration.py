"""What supervisord reads from the configuration that is made of the Procfile."""

from __future__ import annotations

import shlex
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from supervisor.datatypes import RestartWhenExitUnexpected
from supervisor.options import ServerOptions

from cli.processes import (
    STOP_SECONDS,
    Program,
    configuration,
    launched,
    procfile,
    programs_of_procfile,
    programs_of_servers,
    supervisor_pid_file,
)
from config.embedded import PORTS, Server, endpoints, wanted_servers
from config.endpoints import Endpoints
from config.settings import Settings

SERVERS = [
    Server("redis", 20_001, ["valkey-server", "--save", ""]),
    Server("mongo", 20_002, ["nx"], Path("left/nx.pid")),
]


def read(programs: list[Program], run_dir: Path) -> dict[str, dict[str, Any]]:
    """Return supervisord's own view: the programs by name, in groups by name, in their order."""
    run_dir.mkdir(parents=True, exist_ok=True)
    file = run_dir / "supervisord.conf"
    file.write_text(configuration(programs, run_dir), encoding="utf-8")
    options = ServerOptions()
    options.realize(["--configuration", str(file)])
    assert options.nodaemon
    assert options.configroot.supervisord.server_configs == []
    groups = sorted(options.process_group_configs, key=lambda group: group.priority)
    return {group.name: {each.name: each for each in group.process_configs} for group in groups}


def command(program: Any) -> list[str]:
    """Return what a program is when `cli.launch` has become it."""
    words = shlex.split(program.command)
    return words[words.index("--") + 1 :]


def test_every_line_of_the_procfile_is_a_program(tmp_path: Path) -> None:
    groups = read(programs_of_procfile({}), tmp_path)
    assert list(groups) == ["processes"]
    assert set(groups["processes"]) == set(procfile())
    for kind, line in procfile().items():
        assert ["exec", *command(groups["processes"][kind])] == shlex.split(line)


def test_a_scale_adds_processes_with_names_of_their_own_or_leaves_them_out(tmp_path: Path) -> None:
    found = read(programs_of_procfile({"fetch": 3, "vision": 1, "flower": 0}), tmp_path)[
        "processes"
    ]
    assert set(found) == {*procfile(), "fetch2", "fetch3"} - {"flower"}
    nodes = [
        words[words.index("-n") + 1]
        for words in (command(found[name]) for name in ("fetch", "fetch2", "fetch3", "vision"))
    ]
    assert nodes == ["fetch@%h", "fetch2@%h", "fetch3@%h", "vision@%h"]


def test_what_ends_is_started_again_unless_a_restart_cannot_mend_it(tmp_path: Path) -> None:
    programs = [*programs_of_servers(tmp_path, SERVERS), *programs_of_procfile({})]
    for group in read(programs, tmp_path).values():
        for program in group.values():
            assert program.autostart
            assert program.autorestart is RestartWhenExitUnexpected
            assert program.exitcodes == [78]
            # An end within startsecs would be tried again whatever its exit code is.
            assert program.startsecs == 0


def test_a_stop_is_for_the_process_alone_and_what_is_left_after_a_while_is_killed(
    tmp_path: Path,
) -> None:
    for program in read(programs_of_procfile({}), tmp_path)["processes"].values():
        assert program.stopsignal == signal.SIGTERM
        assert not program.stopasgroup
        assert program.killasgroup
        assert program.stopwaitsecs == STOP_SECONDS


def test_everything_that_a_program_writes_goes_to_one_output_that_is_never_cut(
    tmp_path: Path,
) -> None:
    for program in read(programs_of_procfile({}), tmp_path)["processes"].values():
        assert program.redirect_stderr
        assert program.stdout_logfile == "/dev/fd/1"
        assert program.stdout_logfile_maxbytes == 0


def test_servers_start_first_and_stop_last_and_hold_the_data_directory(tmp_path: Path) -> None:
    programs = [*programs_of_procfile({}), *programs_of_servers(tmp_path, SERVERS)]
    groups = read(programs, tmp_path)
    assert list(groups) == ["servers", "processes"]
    servers = groups["servers"]
    assert command(servers["redis"]) == ["valkey-server", "--save", ""]
    for server in servers.values():
        words = shlex.split(server.command)
        assert words[words.index("--hold") + 1] == str(tmp_path / "lock")
    words = shlex.split(servers["mongo"].command)
    assert words[words.index("--leftover") + 1] == "left/nx.pid"
    assert "--leftover" not in servers["redis"].command


@pytest.mark.parametrize(
    "name", ["a b", "50% of ;it #1", "数据", 'it\'s "quoted" \\ $HOME %(here)s']
)
def test_a_folder_may_have_any_name(tmp_path: Path, name: str) -> None:
    run_dir = tmp_path / name
    (program,) = read([Program("one", ["run", str(run_dir)])], run_dir)["processes"].values()
    expected = launched(
        ["run", str(run_dir)],
        supervisor_pid_file(run_dir),
        *("--started", str(run_dir / "one.started")),
    )
    assert shlex.split(program.command) == expected
    assert expected[0] == sys.executable


def test_servers_that_the_settings_do_not_name_get_ports_that_no_client_is_given(
    tmp_path: Path,
) -> None:
    redis, mongo = wanted_servers(Settings(data_dir=tmp_path))
    assert (redis.name, mongo.name) == ("redis", "mongo")
    assert {redis.port, mongo.port} <= set(PORTS)
    ephemeral = Path("/proc/sys/net/ipv4/ip_local_port_range")
    if ephemeral.exists():
        assert PORTS.stop <= int(ephemeral.read_text().split()[0])
    found = endpoints([redis, mongo])
    assert found.redis_url == f"redis://127.0.0.1:{redis.port}/0"
    assert found.mongo_url == f"mongodb://127.0.0.1:{mongo.port}/?journal=false"


def test_servers_that_the_settings_name_are_not_started(tmp_path: Path) -> None:
    named = Settings(
        data_dir=tmp_path, redis_url=SecretStr("redis://h/"), mongo_url=SecretStr("mongodb://h/")
    )
    assert wanted_servers(named) == []
    assert endpoints([]) == Endpoints("", "")
