"""`snapsku up`: one command starts everything and brings back what dies, one signal stops all."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import requests

from cli.processes import ROOT, procfile
from config.embedded import free_port
from config.refusal import REFUSED
from tests.e2e.client import Api, collection_name, ids
from tests.e2e.stack import READY_SECONDS, await_end, clean_environment
from tools.demo.manifest import load

STOP_SECONDS = 120.0
#: Beside other work on the machine, too.
FINISH_SECONDS = 150.0
UP = (sys.executable, "-m", "cli.main", "up")
IMAGES = list(load().first_images().values())[:4]


class Up:
    """The running command, what it wrote, and what it runs."""

    def __init__(self, folder: Path, **settings: str) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.environment = clean_environment(
            data_dir=str(folder / "data"),
            port=str(port),
            flower_port=str(free_port()),
            **settings,
        )
        self._log = folder / "up.log"
        self.process: subprocess.Popen[bytes]

    def start(self) -> None:
        with self._log.open("ab") as log:
            # As nohup starts it.
            self.process = subprocess.Popen(
                ("/usr/bin/env", "--ignore-signal=HUP", *UP),
                cwd=ROOT,
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def log(self) -> str:
        return self._log.read_text("utf-8", errors="replace")

    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def supervisor(self) -> psutil.Process:
        (found,) = psutil.Process(self.process.pid).children()
        return found

    def programs(self) -> dict[str, int]:
        """The process ids of what the supervisor runs at this moment, by name."""
        spawned = {
            name: int(number)
            for name, number in re.findall(r" spawned: '(\w+)' with pid (\d+)", self.log())
        }
        alive = {child.pid for child in self.supervisor().children()}
        return {name: number for name, number in spawned.items() if number in alive}

    def is_ready(self) -> bool:
        try:
            return requests.get(f"{self.url}/readyz", timeout=5).status_code == 200
        except requests.RequestException:
            return False

    def await_ready(self) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while not self.is_ready():
            assert self.process.poll() is None, self.log()[-3000:]
            assert time.monotonic() < deadline, self.log()[-3000:]
            time.sleep(0.2)

    def kill(self) -> None:
        if self.process.poll() is None:
            for member in (psutil.Process(self.process.pid), *self.family()):
                member.kill()
            self.process.wait()


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory, short_times: dict[str, str]) -> Iterator[Up]:
    found = Up(tmp_path_factory.mktemp("up"), **short_times)
    found.start()
    try:
        found.await_ready()
        yield found
    finally:
        found.kill()


@pytest.fixture
def up_api(up: Up) -> Iterator[Api]:
    client = Api(up.url)
    yield client
    client.close()


def test_it_runs_every_process_of_the_procfile_and_servers_where_none_is_named(up: Up) -> None:
    assert set(up.programs()) == {*procfile(), "redis", "mongo"}
    assert "Traceback" not in up.log()


def test_it_tells_where_things_are_once_it_is_ready(up: Up) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while "snapsku: ready" not in up.log():
        assert time.monotonic() < deadline, up.log()[-3000:]
        time.sleep(0.2)
    told = up.log().partition("snapsku: ready")[2].splitlines()[1:7]
    places = dict(line.split(maxsplit=1) for line in told)
    assert places["API"] == up.url
    assert "for trials" in places["database"]
    assert Path(places["data"]) == Path(up.environment["SNAPSKU_DATA_DIR"])
    assert requests.get(places["reference"], timeout=30).status_code == 200
    assert requests.get(places["Flower"], timeout=30).status_code == 200


def test_started_by_nohup_it_outlives_its_terminal(up: Up) -> None:
    up.process.send_signal(signal.SIGHUP)
    time.sleep(1)
    assert up.process.poll() is None
    assert up.is_ready()


def refusal(environment: dict[str, str]) -> list[str]:
    """The lines of a command that starts nothing."""
    second = subprocess.run(
        UP, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert second.returncode == REFUSED, second.stderr
    assert second.stdout == ""
    return second.stderr.strip().splitlines()


def test_a_second_one_on_the_same_data_directory_refuses_with_one_line(up: Up) -> None:
    (line,) = refusal(up.environment)
    assert f"in use by another running stack (process {up.process.pid})" in line
    assert up.is_ready()


def test_a_second_one_on_the_same_ports_refuses_with_a_line_for_each(
    up: Up, tmp_path: Path
) -> None:
    found = refusal({**up.environment, "SNAPSKU_DATA_DIR": str(tmp_path / "data")})
    assert len(found) == 2
    for line, name in zip(found, ("SNAPSKU_PORT", "SNAPSKU_FLOWER_PORT"), strict=True):
        told = f"is in use by another snapsku; stop it, or change {name}"
        assert line == f"Error: port {up.environment[name]} of 127.0.0.1 {told}"
    assert {path.name for path in (tmp_path / "data").iterdir()} == {"lock"}


@pytest.mark.parametrize("kind", ["vision", "index", "api", "redis", "mongo"])
def test_a_process_that_is_killed_comes_back_and_the_task_finishes(
    up: Up, up_api: Api, kind: str
) -> None:
    collection = collection_name()
    up_api.create(collection, IMAGES)
    task = up_api.add_samples(collection, IMAGES)
    victim = up.programs()[kind]
    # Children that outlive their parent for a moment answer in its place, and then no more.
    orphans = psutil.Process(victim).children(recursive=True)
    os.kill(victim, signal.SIGKILL)
    assert await_end(orphans, 15) == []
    deadline = time.monotonic() + 60
    while up.programs().get(kind, victim) == victim or not up.is_ready():
        assert time.monotonic() < deadline, up.log()[-3000:]
        time.sleep(0.1)
    succeeded = up_api.finish(task, FINISH_SECONDS)["succeeded_list"]
    assert sorted(ids(succeeded)) == sorted(image.image_id for image in IMAGES)


def test_with_its_supervisor_killed_nothing_stays_and_it_can_be_started_again(
    up: Up, up_api: Api
) -> None:
    collection = collection_name()
    up_api.create(collection, IMAGES[:1])
    family = up.family()
    up.supervisor().kill()
    assert up.process.wait(10) == 1
    assert up.log().splitlines()[-1].startswith("snapsku: the supervisor ended (-9)")
    # Children of a pool or of gunicorn end when they notice that their parent is gone.
    assert await_end(family, 15) == []
    up.start()
    up.await_ready()
    listed = up_api.ok("list_products", collection_name=collection)["product_list"]
    assert [product["product_id"] for product in listed] == [IMAGES[0].product_id]


def test_a_signal_stops_all_in_order_and_leaves_nothing(up: Up) -> None:
    family = up.family()
    began = len(up.log())
    up.process.send_signal(signal.SIGTERM)
    up.process.wait(STOP_SECONDS)
    assert up.process.returncode == 0
    assert await_end(family, 1) == []
    stopped = [
        line.split(" stopped: ")[1].split()[0]
        for line in up.log()[began:].splitlines()
        if " stopped: " in line
    ]
    assert set(stopped[:-2]) == set(procfile())
    assert set(stopped[-2:]) == {"redis", "mongo"}
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{up.url}/healthz", timeout=5)
