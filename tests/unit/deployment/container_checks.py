"""What has to hold of the files of containers, each check a function of the files in a folder.

`python -m tests.unit.deployment.container_checks FOLDER` tells which checks fail there, such as on
the files of an older commit.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from config.settings import Settings, known_variables
from tests.unit.deployment.container_files import (
    SERVERS,
    ContainerFiles,
    defaults,
    env_lines,
)

#: Returns a line for each fault.
Check = Callable[[ContainerFiles], list[str]]
CHECKS: list[Check] = []


def check(found: Check) -> Check:
    """Add a check to CHECKS."""
    CHECKS.append(found)
    return found


def failures(found: Check, files: ContainerFiles) -> list[str]:
    """Return the faults that a check finds; what it needs and does not find is one, too."""
    try:
        return found(files)
    except (KeyError, IndexError, OSError, TypeError, ValueError) as error:
        return [f"{type(error).__name__}: {error}"]


def _unless(holds: bool, fault: str) -> list[str]:
    return [] if holds else [fault]


@check
def one_service_builds_the_image_and_no_registry_is_asked(files: ContainerFiles) -> list[str]:
    """Eight builds of one tag collide, and eight pulls of it ask a registry that has none."""
    building = [name for name, each in files.services.items() if "build" in each]
    asking = [name for name, each in files.ours.items() if each.get("pull_policy") != "never"]
    images = {each["image"] for each in files.ours.values()}
    return [
        *_unless(building == ["api"], f"built by {building}"),
        *_unless(not asking, f"a registry is asked by {asking}"),
        *_unless(len(images) == 1, f"images: {images}"),
    ]


@check
def the_version_of_the_image_is_a_variable_with_a_default(files: ContainerFiles) -> list[str]:
    """An upgrade or a second build needs another tag, without a change of the file."""
    images = {each["image"] for each in files.ours.values()}
    return [each for each in images if not re.fullmatch(r"snapsku:\$\{\w+:-[\d.]+\}", each)]


@check
def published_ports_are_variables_on_loopback(files: ContainerFiles) -> list[str]:
    """A port of the host may be taken."""
    ports = [port for each in files.services.values() for port in each.get("ports", [])]
    return [port for port in ports if not re.fullmatch(r"127\.0\.0\.1:\$\{\w+:-\d+\}:\d+", port)]


@check
def doctor_finds_flower_in_its_container(files: ContainerFiles) -> list[str]:
    """`docker compose exec api snapsku doctor` needs no --skip."""
    port = Settings.model_fields["flower_port"].default
    url = files.ours["api"]["environment"].get("SNAPSKU_FLOWER_URL")
    page = files.text("docs/deploy-compose.md")
    return [
        *_unless(url == f"http://flower:{port}", f"SNAPSKU_FLOWER_URL is {url}"),
        *_unless("--skip flower" not in page, "docs/deploy-compose.md skips Flower"),
    ]


@check
def the_procfile_goes_into_the_image_with_a_documented_command(files: ContainerFiles) -> list[str]:
    """`snapsku up` reads it; the docs start everything in one container."""
    page = files.text("docs/deploy-compose.md").replace("\\\n", " ")
    words = ("SNAPSKU_HOST=0.0.0.0", "--volume", "127.0.0.1:8000:8000", "--stop-timeout 75")
    starts = [line for line in page.splitlines() if "docker run" in line and "snapsku up" in line]
    return [
        *_unless("!Procfile" in files.ignored, ".dockerignore drops the Procfile"),
        *_unless(bool(starts), "no docker run ... snapsku up"),
        *(f"lacks {word}: {line}" for line in starts for word in words if word not in line),
    ]


@check
def the_default_target_is_cpu_and_cuda_is_asked_for_by_name(files: ContainerFiles) -> list[str]:
    """CUDA libraries take gigabytes, and the default engine does not need them."""
    names = list(files.stages)
    target = defaults(files.services["api"]["build"]["target"])
    return [
        *_unless(names[-1] == "cpu" and "cuda" in names, f"stages: {names}"),
        *_unless(target == "cpu", f"Compose builds {target}"),
        *_unless(
            not any("torch-cuda" in rest for _, rest in files.stages["cpu"]), "cpu copies CUDA"
        ),
    ]


@check
def an_index_without_cpu_builds_is_refused_and_no_index_is_told(files: ContainerFiles) -> list[str]:
    """pip would take the CUDA builds without a word."""
    (install,) = [rest for word, rest in files.stages["torch-cpu"] if "pip install" in rest]
    script = files.text("deploy/image_requirements.py")
    return [
        *_unless("image_requirements.py torch +cpu" in install, "no +cpu is asked for"),
        *_unless("TORCH_INDEX_URL is not set, so" in install, "nothing says what it will be"),
        *_unless("|| { echo" in install and "exit 1" in install, "nothing says what was wanted"),
        *_unless("constraints.txt" in script, "the versions are not those that were tested"),
    ]


@check
def torch_has_a_layer_of_its_own_without_what_nothing_runs(files: ContainerFiles) -> list[str]:
    """A change of code or of another package moves no gigabyte."""
    faults = []
    for target in ("cpu", "cuda"):
        copies = [rest for word, rest in files.stages[target] if word == "COPY"]
        first = f"--from=torch-{target} /opt/torch /opt/torch"
        faults += _unless(copies[0] == first, f"{target} copies {copies[0]} first")
        trimmed = " ".join(rest for word, rest in files.stages[f"torch-{target}"] if word == "RUN")
        faults += [
            f"torch-{target} keeps {folder}"
            for folder in ("torch/include", "torch/test", "torch/bin")
            if folder not in trimmed
        ]
        # Without it `import torch` raises.
        faults += _unless("! -name torch_shm_manager" in trimmed, "torch_shm_manager goes")
    return faults


@check
def every_package_is_compiled(files: ContainerFiles) -> list[str]:
    """The root file system is read-only, so what is not compiled is compiled at every start."""
    (command,) = re.findall(r"python -m compileall ([^&\n]*)", files.dockerfile)
    words = set(command.split()) - {"-q"}
    top = {path.parent.name for path in files.root.glob("*/__init__.py")}
    service = top - {"tests", "tools", "demo", "benchmarks", "samples"}
    return [
        *_unless(words == {"."} or words >= service, f"not compiled: {service - words}"),
        *_unless(words == {"."}, "a list, which the next package is not on"),
        *_unless(files.packages >= service, f"not a package: {service - files.packages}"),
    ]


@check
def no_process_can_write_but_to_its_volumes(files: ContainerFiles) -> list[str]:
    """The root file system is read-only, and /tmp is memory."""
    return [
        name
        for name, each in files.ours.items()
        if each.get("read_only") is not True or each.get("tmpfs") != ["/tmp"]  # noqa: S108
    ]


@check
def what_needs_no_other_network_has_none(files: ContainerFiles) -> list[str]:
    """index, maintenance and beat talk to the servers alone."""
    networks = files.compose["networks"]
    used = {name: each["networks"] for name, each in files.services.items()}
    return [
        f"{name}: {used[name]}"
        for name in ("index", "maintenance", "beat", *SERVERS)
        if not all((networks[one] or {}).get("internal") for one in used[name])
    ]


@check
def secrets_are_mounted_as_files(files: ContainerFiles) -> list[str]:
    """`docker inspect` shows the environment, so the docs put no password there."""
    lacking = [
        name
        for name, each in files.ours.items()
        if "./secrets:/run/secrets:ro" not in each["volumes"]
    ]
    page = files.text("docs/deploy-compose.md")
    return [
        *lacking,
        *_unless("_FILE=/run/secrets/" in page, "the docs name no file of a secret"),
        *_unless(not re.search(r"(?m)^\s*SNAPSKU_\w*PASSWORD=", page), "a password as a variable"),
        *_unless("secrets/" in files.text(".gitignore").splitlines(), "secrets may be committed"),
    ]


@check
def redis_lets_the_other_containers_in(files: ContainerFiles) -> list[str]:
    """Its protected mode refuses clients beyond loopback, unless a password is set."""
    words = files.services["redis"]["command"]
    open_ = "--protected-mode" in words and words[words.index("--protected-mode") + 1] == "no"
    return _unless(open_ or "--requirepass" in words, "redis is in protected mode")


@check
def servers_of_your_own_are_named_in_the_file_of_settings(files: ContainerFiles) -> list[str]:
    """What stands under `environment` wins over the file; so the addresses do not stand there."""
    faults = []
    for name, each in files.ours.items():
        paths = [one["path"] for one in each["env_file"]]
        faults += _unless(paths[-1] == "snapsku.env", f"{name}: {paths}")
        fixed = {"SNAPSKU_REDIS_URL", "SNAPSKU_MONGO_URL"} & set(each.get("environment", {}))
        faults += [f"{name}: {sorted(fixed)} can't be set"] if fixed else []
    for server in SERVERS:
        url = f"SNAPSKU_{server.upper()}_URL"
        (first,) = {each["env_file"][0]["path"] for each in files.ours.values()}
        line = env_lines(files.text(first))[url]
        faults += _unless(f"${{{url}:-" in line, f"{url} does not come from the environment")
    return faults


@check
def the_stack_runs_without_our_servers(files: ContainerFiles) -> list[str]:
    """One more file puts both servers into profiles, and nothing waits for them."""
    other = yaml.safe_load(files.text("deploy/own-servers.yml"))
    needed = {
        f"{name} needs {server}"
        for name, each in files.ours.items()
        for server, how in each["depends_on"].items()
        if how.get("required") is not False
    }
    in_profile = {name for name, each in other["services"].items() if each["profiles"]}
    return [*sorted(needed), *_unless(in_profile == set(SERVERS), f"in profiles: {in_profile}")]


@check
def the_example_of_settings_is_valid_line_by_line(files: ContainerFiles) -> list[str]:
    """A line of which the # is removed leaves a service that starts."""
    text = files.text("snapsku.env.example")
    lines = env_lines("\n".join(re.findall(r"(?m)^#(SNAPSKU_\w+=.*)", text)))
    plain = {name: value for name, value in lines.items() if not name.endswith("_FILE")}
    given: dict[str, Any] = {n.removeprefix("SNAPSKU_").lower(): v for n, v in plain.items()}
    Settings(**given)
    return [
        *sorted(lines.keys() - known_variables()),
        *_unless(len(lines) >= 8, f"{len(lines)} settings alone"),
        *_unless(not env_lines(text), "a line is set, not shown"),
    ]


@check
def the_log_driver_is_one_that_podman_has(files: ContainerFiles) -> list[str]:
    """podman refuses `local`."""
    drivers = {name: each["logging"]["driver"] for name, each in files.services.items()}
    return [f"{name}: {driver}" for name, driver in drivers.items() if driver != "json-file"]


@check
def the_docs_back_up_and_restore_with_compose(files: ContainerFiles) -> list[str]:
    """The folder must be writable by the user of the container, and a restore needs servers."""
    page = files.text("docs/back-up.md")
    lines = page.splitlines()
    restore = [line for line in lines if "docker compose run" in line and "snapsku restore" in line]
    return [
        *_unless("-o 10001" in page, "/backups belongs to root"),
        *_unless(bool(restore), "no restore with Compose"),
        *_unless(
            any("docker compose up -d" in line and "redis mongo" in line for line in lines),
            "the servers are not started before the restore",
        ),
    ]


@check
def the_docs_call_with_a_key_and_tell_that_the_index_is_one(files: ContainerFiles) -> list[str]:
    """From outside, every call needs a key; --scale index=2 restarts for ever."""
    page = files.text("docs/deploy-compose.md")
    return [
        *_unless("Authorization: Bearer" in page, "no curl with a key"),
        *_unless("--scale index=2" in page, "--scale index=2 is not told of"),
    ]


@check
def a_script_runs_all_of_it_and_hosted_runners_run_the_script(files: ContainerFiles) -> list[str]:
    """What is checked here by reading is run where there is an engine."""
    script = files.text("deploy/check_containers.sh")
    jobs = yaml.safe_load(files.text(".github/workflows/ci.yml"))["jobs"]
    called = [
        step.get("run", "")
        for job in jobs.values()
        for step in job["steps"]
        if "deploy/check_containers.sh" in step.get("run", "")
    ]
    return [
        *_unless(called == ["bash deploy/check_containers.sh"], f"called by {called}"),
        *(
            f"the script lacks {word}"
            for word in ("up --detach --wait", "tools.demo", "snapsku backup", "snapsku restore")
            if word not in script
        ),
    ]


def main(folder: str) -> int:
    """Print each check with its faults in `folder`, and return how many fail."""
    files = ContainerFiles(Path(folder))
    found = {one.__name__: failures(one, files) for one in CHECKS}
    for name, faults in found.items():
        print(f"{'FAILS' if faults else 'holds'}  {name}: {'; '.join(faults)[:120]}")
    failing = sum(map(bool, found.values()))
    print(f"{failing} of {len(found)} fail")
    return failing


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
