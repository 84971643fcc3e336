"""The files of containers in a folder, parsed: Compose, Dockerfile, context, settings, docs."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

SERVERS = ("mongo", "redis")
_VARIABLE = re.compile(r"\$\{(\w+)(?::?-([^}]*))?\}")


def defaults(text: str) -> str:
    """Return `text` with the defaults of its variables, as Compose has it if none is set."""
    return _VARIABLE.sub(lambda found: found[2] or "", text)


def env_lines(text: str) -> dict[str, str]:
    """Return the variables of a file of settings, without comments."""
    lines = (line for line in text.splitlines() if line.strip() and not line.startswith("#"))
    return dict(line.split("=", 1) for line in lines)


@dataclass(frozen=True)
class ContainerFiles:
    """The files below `root`; a property raises OSError or KeyError where its file lacks it."""

    root: Path

    def text(self, name: str) -> str:
        """Return the text of a file."""
        return (self.root / name).read_text(encoding="utf-8")

    @cached_property
    def compose(self) -> dict[str, Any]:
        """The content of docker-compose.yml, variables as they stand there."""
        found: dict[str, Any] = yaml.safe_load(self.text("docker-compose.yml"))
        return found

    @cached_property
    def services(self) -> dict[str, dict[str, Any]]:
        """The services of docker-compose.yml by name."""
        found: dict[str, dict[str, Any]] = self.compose["services"]
        return found

    @cached_property
    def ours(self) -> dict[str, dict[str, Any]]:
        """The services that run processes of the project."""
        return {name: each for name, each in self.services.items() if name not in SERVERS}

    @cached_property
    def shared_environment(self) -> dict[str, str]:
        """The settings that every container gets from the first file of `env_file`."""
        (first,) = {each["env_file"][0]["path"] for each in self.ours.values()}
        return {name: defaults(value) for name, value in env_lines(self.text(first)).items()}

    def environment(self, name: str) -> dict[str, str]:
        """Return the settings of a service, as they are by default."""
        return {**self.shared_environment, **self.ours[name].get("environment", {})}

    @cached_property
    def dockerfile(self) -> str:
        """The text of the Dockerfile, without comments and with each instruction on one line."""
        return re.sub(r"\\\n", " ", re.sub(r"(?m)^#.*\n", "", self.text("Dockerfile")))

    @cached_property
    def steps(self) -> list[tuple[str, str]]:
        """The instructions of the Dockerfile with their arguments."""
        lines = (line for line in self.dockerfile.splitlines() if line.strip())
        return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in lines)]

    @cached_property
    def stages(self) -> dict[str, list[tuple[str, str]]]:
        """The steps of each stage by its name, in order; "" for one without a name."""
        found: dict[str, list[tuple[str, str]]] = {}
        for word, rest in self.steps:
            if word == "FROM":
                name = rest.partition(" AS ")[2]
            found.setdefault(name, []).append((word, rest))
        return found

    def values(self, instruction: str) -> list[str]:
        """Return the arguments of every instruction of that name."""
        return [rest for word, rest in self.steps if word == instruction]

    @cached_property
    def ignored(self) -> list[str]:
        """The lines of .dockerignore."""
        return self.text(".dockerignore").splitlines()

    @cached_property
    def packages(self) -> set[str]:
        """The packages of the repository that are part of the service."""
        project = tomllib.loads(self.text("pyproject.toml"))
        patterns = project["tool"]["setuptools"]["packages"]["find"]["include"]
        return {pattern.removesuffix("*") for pattern in patterns}
