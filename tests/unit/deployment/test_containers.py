"""The files of containers: what `container_checks` has, and that whatever they name exists."""

from __future__ import annotations

import os
import re
import runpy
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from cli.processes import ROOT
from tests.unit.deployment.container_checks import CHECKS, Check, failures
from tests.unit.deployment.container_files import ContainerFiles

FILES = ContainerFiles(ROOT)
PINS: dict[str, Any] = runpy.run_path(str(ROOT / "deploy/check_pins.py"))
REQUIREMENTS: dict[str, Any] = runpy.run_path(str(ROOT / "deploy/image_requirements.py"))
DOCKER = shutil.which("docker")


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_files_of_containers_have_no_fault(check: Check) -> None:
    assert failures(check, FILES) == []


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_check_fails_where_there_are_no_files(check: Check, tmp_path: Path) -> None:
    assert failures(check, ContainerFiles(tmp_path)) != []


def module_file(name: str) -> Path:
    return ROOT / (name.replace(".", "/") + ".py")


@pytest.mark.parametrize("kind", FILES.ours)
def test_every_file_and_module_that_a_command_names_exists_and_goes_in(kind: str) -> None:
    words = FILES.ours[kind]["command"]
    named = [ROOT / words[words.index("-c") + 1]] if words[0] == "gunicorn" else []
    named += [module_file(words[words.index("-A") + 1])] if "-A" in words else []
    named += [ROOT / word.removeprefix("--conf=") for word in words if word.startswith("--conf=")]
    assert named
    for file in named:
        assert file.is_file()
        assert f"!{file.relative_to(ROOT).parts[0]}" in FILES.ignored


def test_every_file_that_the_script_runs_exists() -> None:
    script = FILES.text("deploy/check_containers.sh")
    named = re.findall(r"(?:python|bash) ((?:deploy|docs)/[\w./]+)", script)
    named += [
        module_file(f"{one}.__main__").relative_to(ROOT).as_posix()
        for one in re.findall(r"-m (tools\.\w+)", script)
    ]
    named += re.findall(r"deploy/[\w-]+\.yml", script)
    assert len(named) >= 3
    assert [one for one in named if not (ROOT / one).exists()] == []


def test_bash_takes_the_script() -> None:
    bash = shutil.which("bash") or "bash"
    subprocess.run([bash, "-n", str(ROOT / "deploy/check_containers.sh")], check=True)


def test_what_is_installed_here_is_pinned() -> None:
    pinned = PINS["pins"](FILES.text("constraints.txt"))
    assert PINS["unpinned"](PINS["needed"](), pinned) == []


def test_what_is_not_pinned_or_of_another_version_is_told() -> None:
    pinned = PINS["pins"]("torch==2.14.1 ; platform_machine == 'x86_64'\nMy_Package==1.0\n")
    assert pinned == {"torch": "2.14.1", "my-package": "1.0"}
    installed = {"torch": "2.14.1+cpu", "my-package": "1.1", "other": "2"}
    first, second = PINS["unpinned"](installed, pinned)
    assert first == "my-package 1.1: constraints.txt has 1.0"
    assert second.startswith("other 2: ")


def test_the_image_installs_every_dependency_in_one_of_its_two_layers() -> None:
    base, torch = REQUIREMENTS["base"](), REQUIREMENTS["torch"]()
    assert sorted(base + torch) == sorted(REQUIREMENTS["_dependencies"](ROOT))
    assert [one.partition(">")[0] for one in torch] == [
        *("efficientnet-lite-pytorch", "torch", "torchvision")
    ]


def test_a_build_of_torch_is_asked_for_in_the_versions_of_the_constraints() -> None:
    pinned = PINS["pins"](FILES.text("constraints.txt"))
    asked = REQUIREMENTS["torch"](ROOT, "+cpu")
    assert {f"torch=={pinned['torch']}+cpu", f"torchvision=={pinned['torchvision']}+cpu"} < set(
        asked
    )


def test_commands_of_the_docs_name_services_that_exist() -> None:
    page = FILES.text("docs/deploy-compose.md") + FILES.text("docs/back-up.md")
    lines = page.replace("\\\n", " ").splitlines()
    words = [word for line in lines if "docker compose" in line for word in line.split()]
    scaled = {word.partition("=")[0] for word in words if re.fullmatch(r"\w+=\d+", word)}
    assert scaled <= FILES.services.keys()
    ran = re.findall(r"docker compose exec (?:-T )?(\w+)", "\n".join(lines))
    assert set(ran) <= FILES.services.keys()


def test_every_variable_of_compose_is_told_in_the_docs() -> None:
    page = FILES.text("docs/deploy-compose.md")
    named = set(re.findall(r"\$\{(\w+)", FILES.text("docker-compose.yml")))
    assert [name for name in sorted(named) if f"`{name}`" not in page] == []


def has_compose() -> bool:
    asked = [DOCKER or "", "compose", "version"]
    return DOCKER is not None and subprocess.run(asked, capture_output=True).returncode == 0


if has_compose():

    @pytest.mark.parametrize("others", [[], ["deploy/own-servers.yml"]])
    def test_compose_takes_the_files(others: list[str]) -> None:
        names = [f"--file={name}" for name in ["docker-compose.yml", *others]]
        asked = [DOCKER or "", "compose", *names, "config", "--services"]
        told = subprocess.run(
            asked, cwd=ROOT, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True
        )
        assert told.returncode == 0, told.stderr
        assert set(told.stdout.split()) >= FILES.ours.keys()
