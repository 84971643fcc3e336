"""The `snapsku` command as a person meets it."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from cli import main as command
from cli.preflight import PreflightError
from cli.processes import procfile
from config.refusal import REFUSED
from config.settings import Settings, SettingsError, read_settings
from config.version import VERSION

SECRETS = {
    "SNAPSKU_REDIS_URL": "redis://:hunter2@redis.internal:6379/0",
    "SNAPSKU_MONGO_URL": "mongodb://somebody:hunter3@mongo.internal/",
}


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(command.main, arguments)
    return result.exit_code, result.output


def shown() -> dict[str, str]:
    code, output = run("config", "show")
    assert code == 0, output
    return dict(line.split("=", 1) for line in output.splitlines())


def test_version_prints_the_name_and_the_version_of_the_program() -> None:
    assert run("--version") == (0, f"snapsku {VERSION}\n")


def test_config_show_lists_every_setting_with_its_meaning() -> None:
    lines = shown()
    fields = Settings.model_fields
    assert list(lines) == [f"SNAPSKU_{name.upper()}" for name in fields]
    for name, field in fields.items():
        assert lines[f"SNAPSKU_{name.upper()}"].endswith(f"  # {field.description}")


def test_config_show_shows_the_value_in_use(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("SNAPSKU_PORT", "8123")
    environment.setenv("SNAPSKU_CATEGORIES", "包, 鞋")
    lines = shown()
    assert lines["SNAPSKU_PORT"].startswith("8123  #")
    assert lines["SNAPSKU_CATEGORIES"].startswith("包,鞋  #")


def test_config_show_masks_secrets(environment: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        environment.setenv(name, value)
    lines = shown()
    assert "hunter" not in "\n".join(lines.values())
    for name in SECRETS:
        assert lines[name].startswith("**********  #")


def test_config_show_tells_an_unset_server_from_a_masked_one() -> None:
    for name in SECRETS:
        assert shown()[name].startswith("  #")


@pytest.mark.parametrize("arguments", [("config", "show"), ("up",)])
def test_a_bad_setting_is_one_line_and_a_failure(
    environment: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    environment.setenv("SNAPSKU_PORT", "http")
    code, output = run(*arguments)
    assert code == REFUSED
    assert output.startswith("Error: bad settings: SNAPSKU_PORT: ")
    assert len(output.splitlines()) == 1


class Stack:
    """Stands for the supervisor: notes what was started."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.started: list[dict[str, int]] = []
        self.code = 0
        self.fault = ""
        patch.setattr("cli.processes.run_stack", self._run)

    def _run(self, settings: Settings, concurrency: dict[str, int]) -> int:
        if self.fault:
            raise SettingsError(self.fault)
        self.started.append(concurrency)
        return self.code


@pytest.fixture
def stack(environment: pytest.MonkeyPatch, tmp_path: object) -> Stack:
    # `up` sets this variable for its children; naming it here has it put back.
    environment.setenv("SNAPSKU_DATA_DIR", f"{tmp_path}/data")
    return Stack(environment)


def test_up_runs_as_many_processes_of_a_kind_as_it_is_told(stack: Stack) -> None:
    code, output = run("up", "--scale", "fetch=2", "--scale", "vision=3", "--scale", "flower=0")
    assert code == 0, output
    assert stack.started == [{"fetch": 2, "vision": 3, "flower": 0}]


def test_the_processes_of_up_read_the_settings_that_up_read(
    stack: Stack, environment: pytest.MonkeyPatch
) -> None:
    """They run in another folder, where relative names lead elsewhere."""
    here = Path.cwd()
    for name in ("DATA_DIR", "SETTINGS_FILE", "FLOWER_PASSWORD_FILE"):
        environment.setenv(f"SNAPSKU_{name}", "put back after the test")
    environment.delenv("SNAPSKU_SETTINGS_FILE")
    environment.delenv("SNAPSKU_DATA_DIR")
    Path("snapsku.env").write_text("SNAPSKU_PORT=18123\n", encoding="utf-8")
    Path("password").write_text("hunter2", encoding="utf-8")
    environment.setenv("SNAPSKU_FLOWER_PASSWORD_FILE", "password")
    assert run("up") == (0, "")
    environment.chdir("/")
    found = read_settings()
    assert (found.port, found.data_dir) == (18123, here / "data")
    assert found.flower_password.get_secret_value() == "hunter2"


def test_up_ends_with_the_exit_code_of_the_supervisor(stack: Stack) -> None:
    stack.code = 1
    assert run("up")[0] == 1


@pytest.mark.parametrize("scale", ["fetch", "fetch=", "fetch=two", "fetch=-1"])
def test_a_scale_that_is_no_number_starts_nothing(stack: Stack, scale: str) -> None:
    code, output = run("up", "--scale", scale)
    assert code == 2
    assert "is not KIND=N" in output
    assert stack.started == []


@pytest.mark.parametrize("scale", ["fetsh=2", "=2"])
def test_a_scale_of_no_kind_of_the_procfile_starts_nothing(stack: Stack, scale: str) -> None:
    code, output = run("up", "--scale", scale)
    assert code == 2, output
    assert stack.started == []


@pytest.mark.parametrize("kind", ["api", "index", "beat", "flower"])
def test_what_would_fight_with_a_second_one_is_not_scaled(stack: Stack, kind: str) -> None:
    code, output = run("up", "--scale", f"{kind}=2")
    assert code == 2, output
    assert f"{kind} runs once" in output
    assert stack.started == []


def test_a_stack_that_cannot_start_is_told_in_one_line(stack: Stack) -> None:
    stack.fault = "the folder is in use"
    code, output = run("up")
    assert code == REFUSED
    assert output == "Error: the folder is in use\n"


def test_all_that_keeps_a_stack_from_starting_is_told_a_line_each(
    stack: Stack, environment: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise PreflightError(["port 8000 is in use", "Redis wants a password"])

    environment.setattr("cli.processes.run_stack", refuse)
    code, output = run("up")
    assert code == REFUSED
    assert output == "Error: port 8000 is in use\nError: Redis wants a password\n"


@pytest.fixture
def became(environment: pytest.MonkeyPatch) -> list[tuple[str, list[str], dict[str, str]]]:
    """What the process was replaced by: a program, its arguments, its environment."""
    found: list[tuple[str, list[str], dict[str, str]]] = []
    environment.setattr("os.execvpe", lambda *replacement: found.append(replacement))
    return found


@pytest.mark.parametrize("kind", procfile())
def test_run_becomes_the_line_of_the_procfile(kind: str, became: list[Any]) -> None:
    code, output = run("run", kind)
    assert code == 0, output
    ((program, words, variables),) = became
    assert ["exec", *words] == shlex.split(procfile()[kind])
    assert program == words[0]
    assert variables["PATH"].startswith(f"{Path(sys.executable).parent}:")


def test_run_gives_a_further_worker_of_a_kind_a_name_of_its_own(became: list[Any]) -> None:
    run("run", "vision2")
    ((_, words, _),) = became
    assert words[words.index("-n") + 1] == "vision2@%h"
    assert words[words.index("-Q") + 1] == "vision"


@pytest.mark.parametrize("name", ["visions", "2", ""])
def test_run_refuses_what_the_procfile_has_not(name: str, became: list[Any]) -> None:
    code, output = run("run", name)
    assert code == REFUSED
    assert output.startswith("Error: the Procfile has no ")
    assert became == []
