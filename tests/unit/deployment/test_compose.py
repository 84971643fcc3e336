"""docker-compose.yml runs what the Procfile runs, with settings that exist. No engine is needed."""

from __future__ import annotations

import shlex
from typing import Any

import pytest

from cli.processes import ROOT, procfile
from config.settings import PREFIX, Settings
from config.version import VERSION
from tests.unit.deployment.container_files import SERVERS, ContainerFiles, defaults

FILES = ContainerFiles(ROOT)
COMPOSE = FILES.compose
SERVICES = FILES.services
COMMANDS = {
    kind: [word for word in shlex.split(command) if word != "exec"]
    for kind, command in procfile().items()
}
OURS = sorted(FILES.ours)
WORKERS = sorted(kind for kind, words in COMMANDS.items() if "worker" in words)
PUBLISHING = sorted(name for name, service in SERVICES.items() if "ports" in service)


def seconds(text: str) -> float:
    assert text.endswith("s")
    return float(text.removesuffix("s"))


def test_the_services_are_the_processes_of_the_procfile_and_their_servers() -> None:
    assert SERVICES.keys() == COMMANDS.keys() | set(SERVERS)


@pytest.mark.parametrize("kind", COMMANDS)
def test_a_service_runs_the_command_of_the_procfile_without_a_shell(kind: str) -> None:
    assert SERVICES[kind]["command"] == COMMANDS[kind]


@pytest.mark.parametrize("name", OURS)
def test_every_process_is_of_the_one_image_tagged_with_the_version(name: str) -> None:
    assert defaults(SERVICES[name]["image"]) == f"snapsku:{VERSION}"


@pytest.mark.parametrize("name", SERVICES)
def test_every_image_has_a_tag_that_is_not_latest_and_names_no_registry(name: str) -> None:
    image, _, tag = defaults(SERVICES[name]["image"]).partition(":")
    assert tag not in ("", "latest")
    assert "/" not in image
    assert "." not in image


@pytest.mark.parametrize("name", OURS)
def test_every_variable_is_a_setting(name: str) -> None:
    known = {PREFIX + field.upper() for field in Settings.model_fields}
    assert FILES.environment(name).keys() <= known


@pytest.mark.parametrize("name", OURS)
def test_the_settings_of_every_service_are_valid_and_name_its_servers(name: str) -> None:
    given: dict[str, Any] = {
        variable.removeprefix(PREFIX).lower(): value
        for variable, value in FILES.environment(name).items()
    }
    found = Settings(**given)
    assert found.redis_url.get_secret_value().startswith("redis://redis:")
    assert found.mongo_url.get_secret_value().startswith("mongodb://mongo:")


def test_only_what_is_published_listens_beyond_loopback() -> None:
    listening = [n for n in OURS if "SNAPSKU_HOST" in FILES.environment(n)]
    assert sorted(listening) == PUBLISHING == ["api", "flower"]


@pytest.mark.parametrize("name", PUBLISHING)
def test_the_host_publishes_on_loopback_alone_and_the_port_of_the_setting(name: str) -> None:
    port = Settings.model_fields[{"api": "port", "flower": "flower_port"}[name]].default
    assert [defaults(each) for each in SERVICES[name]["ports"]] == [f"127.0.0.1:{port}:{port}"]


@pytest.mark.parametrize("name", OURS)
def test_every_process_has_the_data_directory_on_a_volume(name: str) -> None:
    volume, _, path = SERVICES[name]["volumes"][0].partition(":")
    assert path == "/data"
    assert volume in COMPOSE["volumes"]


@pytest.mark.parametrize("name", SERVERS)
def test_the_servers_keep_their_data_on_volumes(name: str) -> None:
    volumes = [volume.partition(":")[0] for volume in SERVICES[name]["volumes"]]
    assert set(volumes) <= COMPOSE["volumes"].keys()


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_has_a_memory_limit_comes_back_and_may_end_its_work(name: str) -> None:
    service = SERVICES[name]
    assert service["mem_limit"][:-1].isdecimal()
    assert service["restart"] == "unless-stopped"
    assert seconds(service["stop_grace_period"]) >= 40


@pytest.mark.parametrize("name", OURS)
def test_no_process_may_become_root(name: str) -> None:
    assert SERVICES[name].get("user", "10001") not in ("0", "root")
    assert SERVICES[name]["cap_drop"] == ["ALL"]
    assert SERVICES[name]["security_opt"] == ["no-new-privileges:true"]
    assert not SERVICES[name].get("privileges")
    assert not SERVICES[name].get("privileged")


@pytest.mark.parametrize("name", OURS)
def test_every_process_waits_for_servers_that_answer(name: str) -> None:
    healthy = {"condition": "service_healthy", "required": False}
    assert SERVICES[name]["depends_on"] == {"redis": healthy, "mongo": healthy}


@pytest.mark.parametrize("name", sorted(SERVICES.keys() - {"beat"}))
def test_every_service_but_beat_has_a_check_that_ends_before_the_next(name: str) -> None:
    check = SERVICES[name]["healthcheck"]
    assert check["test"][0] in ("CMD", "CMD-SHELL")
    assert seconds(check["timeout"]) < seconds(check["interval"])


@pytest.mark.parametrize("kind", WORKERS)
def test_the_check_of_a_worker_asks_this_very_worker(kind: str) -> None:
    words = COMMANDS[kind]
    node = words[words.index("-n") + 1].replace("%h", "$$HOSTNAME")
    assert SERVICES[kind]["healthcheck"]["test"] == [
        "CMD-SHELL",
        f"celery --quiet -A broker.celery_app inspect ping -d {node}",
    ]


def test_index_and_beat_run_once() -> None:
    once = [name for name in OURS if SERVICES[name].get("deploy") == {"replicas": 1}]
    assert once == ["beat", "index"]


@pytest.mark.parametrize("kind", ["vision", "fetch", "search", "maintenance"])
def test_what_may_run_several_times_has_no_name_or_port_of_its_own(kind: str) -> None:
    assert not SERVICES[kind].keys() & {"container_name", "hostname", "ports"}


def test_redis_keeps_and_never_evicts_messages() -> None:
    words = SERVICES["redis"]["command"]
    assert words[words.index("--appendonly") + 1] == "yes"
    assert words[words.index("--maxmemory-policy") + 1] == "noeviction"


def test_servers_without_a_password_are_out_of_reach() -> None:
    assert COMPOSE["networks"]["back"] == {"internal": True}
    for name in SERVERS:
        assert SERVICES[name]["networks"] == ["back"]
        assert "ports" not in SERVICES[name]
