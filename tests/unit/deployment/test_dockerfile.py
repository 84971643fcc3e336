"""The Dockerfile, read line by line: what goes in, who runs it, and that no registry is named."""

from __future__ import annotations

import json
import re
import shlex

import pytest

from cli.processes import ROOT
from config.settings import PREFIX, Settings
from tests.unit.deployment.container_files import ContainerFiles

FILES = ContainerFiles(ROOT)
TEXT = (ROOT / "Dockerfile").read_text(encoding="utf-8")
IGNORED = FILES.ignored
TARGETS = ("cpu", "cuda")
values = FILES.values


def test_all_stages_are_of_the_same_python_and_release() -> None:
    images = {value.split(" ")[0] for value in values("FROM")} - FILES.stages.keys()
    (image,) = images
    assert image.startswith("python:3.11-slim-")


@pytest.mark.parametrize("target", TARGETS)
def test_the_process_is_not_root(target: str) -> None:
    assert [rest for word, rest in FILES.stages[target] if word == "USER"] == ["10001:10001"]


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_is_of_the_common_stage_with_copies_alone(target: str) -> None:
    words = [word for word, _ in FILES.stages[target]]
    assert words == ["FROM", "COPY", "COPY", "COPY", "USER", "VOLUME"]
    assert FILES.stages[target][0] == ("FROM", f"runtime AS {target}")


def test_every_source_of_a_copy_exists_and_is_let_through() -> None:
    sources = [
        source
        for value in values("COPY")
        if not value.startswith("--from=")
        for source in shlex.split(value)[:-1]
    ]
    assert sources == ["pyproject.toml", "constraints.txt", "deploy/image_requirements.py", "."]
    for source in sources:
        assert (ROOT / source).exists()
        assert source == "." or f"!{source}" in IGNORED


def test_the_context_is_a_list_of_what_goes_in_and_all_of_it_exists() -> None:
    assert next(line for line in IGNORED if line and not line.startswith("#")) == "*"
    for line in IGNORED:
        if line.startswith("!"):
            assert list(ROOT.glob(line.removeprefix("!"))), line


def test_every_package_that_a_process_needs_goes_in() -> None:
    assert {f"!{package}" for package in FILES.packages} <= set(IGNORED)


def test_no_settings_and_no_data_go_in() -> None:
    assert "**/*.env" in IGNORED
    assert "!data" not in IGNORED


@pytest.mark.parametrize("file", ["Dockerfile", "docker-compose.yml"])
def test_no_registry_host_and_no_index_is_named(file: str) -> None:
    text = (ROOT / file).read_text(encoding="utf-8")
    assert not re.findall(r"https?://(?!127\.0\.0\.1|flower:)", text)
    assert not re.findall(r"\b[\w-]+\.(?:io|org|com|net)\b", text)


def test_the_index_of_torch_is_an_argument_without_a_default() -> None:
    assert "TORCH_INDEX_URL" in values("ARG")
    assert '--extra-index-url "$TORCH_INDEX_URL"' in TEXT


def test_dependencies_have_the_versions_that_were_tested() -> None:
    installs = [value for value in values("RUN") if "pip install" in value]
    assert len(installs) == 4
    assert "PIP_CONSTRAINT=/srv/snapsku/constraints.txt" in TEXT
    assert "--no-deps" in installs[-1]


def test_the_compiler_stays_in_the_first_stage() -> None:
    assert "g++" in TEXT
    for stage in ("runtime", *TARGETS):
        assert all("apt-get" not in rest for _, rest in FILES.stages[stage])


def test_the_data_directory_is_a_volume_and_a_setting() -> None:
    assert set(values("VOLUME")) == {"/data"}
    given = dict(pair.split("=", 1) for value in values("ENV") for pair in shlex.split(value))
    assert given["SNAPSKU_DATA_DIR"] == "/data"
    known = {PREFIX + field.upper() for field in Settings.model_fields}
    assert {name for name in given if name.startswith(PREFIX)} <= known


def test_commands_are_run_without_a_shell() -> None:
    assert [json.loads(value)[0] for value in values("CMD")] == ["gunicorn"]
    assert not values("ENTRYPOINT")
