"""What GitHub runs is what the project runs itself. No runner is needed."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import pytest
import yaml

from cli.processes import ROOT

WORKFLOW: dict[str, Any] = yaml.safe_load(
    (ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8")
)
JOBS: dict[str, dict[str, Any]] = WORKFLOW["jobs"]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))


def commands(job: str) -> list[str]:
    return [step["run"] for step in JOBS[job]["steps"] if "run" in step]


def test_the_check_of_a_change_is_the_projects_own() -> None:
    assert commands("check") == ["bash .ci/run"]


def test_a_second_job_runs_the_suite_of_the_docs_on_servers_that_it_is_told() -> None:
    page = (ROOT / "docs/own-servers.md").read_text(encoding="utf-8")
    (command,) = commands("servers")
    assert re.findall(r"make test\b.*", page) == [command]
    told = set(re.findall(r"\bTEST_[A-Z_]+", page))
    assert told == set(JOBS["servers"]["env"])


@pytest.mark.parametrize("server", ["redis", "mongo"])
def test_a_server_is_that_of_docker_compose_at_the_port_that_the_suite_is_told(server: str) -> None:
    service = JOBS["servers"]["services"][server]
    assert service["image"] == COMPOSE["services"][server]["image"]
    (outside,) = {port.split(":")[0] for port in service["ports"]}
    urls = JOBS["servers"]["env"].values()
    assert sum(f"{server}" in url and f"://127.0.0.1:{outside}/" in url for url in urls) == 1
    assert "--health-cmd" in service["options"]


@pytest.mark.parametrize("job", JOBS)
def test_a_job_has_the_lowest_python_that_the_project_supports_and_an_end(job: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    versions = [
        step["with"]["python-version"]
        for step in JOBS[job]["steps"]
        if "python-version" in step.get("with", {})
    ]
    # The job of containers has the Python of the image.
    assert versions or job == "containers"
    assert {f">={version}" for version in versions} <= {project["requires-python"]}
    assert JOBS[job]["timeout-minutes"] <= 90


def test_a_pull_request_from_elsewhere_may_only_read() -> None:
    assert WORKFLOW["permissions"] == {"contents": "read"}


def test_pre_commit_runs_each_tool_of_make_lint_from_the_environment_and_downloads_none() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    (local,) = config["repos"]
    assert local["repo"] == "local"
    assert {hook["language"] for hook in local["hooks"]} == {"system"}
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    lint = makefile.partition("\nlint: setup\n")[2].partition("\n\n")[0]
    tools = {tuple(line.split("/")[1].split()[:2]) for line in lint.splitlines()}
    hooks = {tuple(hook["entry"].removeprefix(".venv/bin/").split()[:2]) for hook in local["hooks"]}
    assert hooks == tools == {("ruff", "format"), ("ruff", "check"), ("mypy",), ("lint-imports",)}
