"""docker-compose.yml, Dockerfile, Procfile and settings say the same.

No Docker engine is at hand in the tests, so the files are read, not run.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from honcho.environ import parse_procfile

from cli.processes import ROOT
from config.settings import PREFIX, Settings

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
PROCESSES = {
    kind: command.removeprefix("exec ")
    for kind, command in parse_procfile(
        (ROOT / "Procfile").read_text(encoding="utf-8")
    ).processes.items()
}
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
SERVERS = {"redis", "mongo"}


def test_every_process_of_the_procfile_is_a_service_with_the_same_command() -> None:
    assert {kind: SERVICES[kind]["command"] for kind in PROCESSES} == PROCESSES
    assert set(SERVICES) == set(PROCESSES) | SERVERS


@pytest.mark.parametrize("kind", sorted(PROCESSES))
def test_every_variable_of_a_service_is_a_setting(kind: str) -> None:
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    assert set(SERVICES[kind]["environment"]) <= known


@pytest.mark.parametrize("kind", sorted(PROCESSES))
def test_every_process_shares_the_data_and_waits_for_its_servers(kind: str) -> None:
    service = SERVICES[kind]
    assert service["volumes"] == ["data:/data"]
    assert service["environment"]["SNAPSKU_DATA_DIR"] == "/data"
    assert {
        name: wait["condition"] for name, wait in service["depends_on"].items()
    } == dict.fromkeys(SERVERS, "service_healthy")


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_service_is_bounded_comes_back_and_has_time_to_stop(name: str) -> None:
    service = SERVICES[name]
    assert re.fullmatch(r"\d+[mg]", service["mem_limit"])
    assert service["restart"] == "unless-stopped"
    assert int(service["stop_grace_period"].removesuffix("s")) > 30
    assert re.fullmatch(r"[a-z]+:[a-z0-9.]+", service["image"]), "an image has a tag"


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_no_port_is_published_beyond_loopback(name: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", []))


@pytest.mark.parametrize("name", ["api", *sorted(SERVERS)])
def test_what_others_wait_for_has_a_health_check(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"][0] == "CMD"


@pytest.mark.parametrize("kind", ["index", "beat"])
def test_what_may_run_only_once_is_not_scaled(kind: str) -> None:
    assert SERVICES[kind]["scale"] == 1


def test_redis_keeps_messages_and_never_evicts_one() -> None:
    command = SERVICES["redis"]["command"]
    assert "--appendonly yes" in command
    assert "--maxmemory-policy noeviction" in command


def test_flower_does_not_start_without_a_password() -> None:
    password = SERVICES["flower"]["environment"]["SNAPSKU_FLOWER_PASSWORD"]
    assert password.startswith("${SNAPSKU_FLOWER_PASSWORD:?")


def test_volumes_are_named() -> None:
    used = {volume.split(":")[0] for s in SERVICES.values() for volume in s["volumes"]}
    assert used == set(COMPOSE["volumes"])


def test_the_image_runs_as_a_user_who_is_not_root() -> None:
    users = re.findall(r"^USER (\S+)$", DOCKERFILE, re.MULTILINE)
    assert users == ["snapsku"]
    assert DOCKERFILE.index("USER snapsku") > DOCKERFILE.rindex("RUN ")


def test_the_image_names_no_package_host_and_takes_the_index_by_argument() -> None:
    assert "://" not in DOCKERFILE
    assert 'ARG TORCH_INDEX_URL=""' in DOCKERFILE


def test_the_image_is_built_with_the_versions_that_were_tested() -> None:
    assert "-c constraints.txt" in DOCKERFILE
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert not {"constraints.txt", "pyproject.toml", "README.md", "LICENSE"} & set(ignored)
    assert {".git", ".venv", "data", "snapsku.env"} <= set(ignored), "no secret, no history"
