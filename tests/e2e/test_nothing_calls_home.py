"""snapsku sends nothing anywhere: its processes talk to their own servers, and look up no name."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
import requests

from cli.processes import ROOT
from config.embedded import free_port
from config.endpoints import read_endpoints
from tests.e2e.client import Api, as_base64, ids
from tests.e2e.contacts import Contact, strangers, traced
from tests.e2e.stack import READY_SECONDS, STOP_SECONDS
from tools.demo.manifest import load

SNAPSKU = (sys.executable, "-m", "cli.main")
FIRST, SECOND = load().images[0], load().images[20]

#: The stack idles so long, since who reports begins late: a process with ONNX Runtime 1.32 that is
#: not told to be silent looked a name up 9, 15, 23 and 44 s after its start.
IDLE_SECONDS = 20.0


class TracedStack:
    """`snapsku up` with embedded servers under strace, as a new user of this machine starts it."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.home, self.data_dir = folder / "home", folder / "data"
        self.home.mkdir()
        self.ports = {"port": free_port(), "flower_port": free_port()}
        self.url = f"http://127.0.0.1:{self.ports['port']}"
        self.flower_url = f"http://127.0.0.1:{self.ports['flower_port']}"
        # Nothing of this process's environment: in one with CI=true, ONNX Runtime reports nothing.
        self.environment = {
            "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
            "PYTHONPATH": str(ROOT),
            "HOME": str(self.home),
            "SNAPSKU_DATA_DIR": str(self.data_dir),
            **{
                f"SNAPSKU_{name.upper()}": str(value)
                for name, value in {**settings, **self.ports}.items()
            },
        }
        self._folder = folder
        self._log = folder / "up.log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [*traced(self.trace_of("up"), apart=True), *SNAPSKU, "up"],
                cwd=ROOT,
                env=self.environment,
                stdout=log,
                stderr=log,
            )

    def trace_of(self, command: str) -> Path:
        return self._folder / f"{command}.trace"

    @property
    def own_ports(self) -> set[int]:
        servers = read_endpoints(self.data_dir)
        assert servers is not None
        urls = (servers.redis_url, servers.mongo_url)
        return {*self.ports.values(), *(urlsplit(url).port or 0 for url in urls)}

    def await_ready(self) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self._log.read_text("utf-8")[-3000:]
            try:
                if requests.get(f"{self.url}/readyz", timeout=5).status_code == 200:
                    return
            except requests.RequestException:
                time.sleep(0.2)
        raise AssertionError(self._log.read_text("utf-8")[-3000:])

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*traced(self.trace_of(command[0])), *SNAPSKU, *command],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def stop(self) -> None:
        """Stop everything, and wait until strace has written its last line."""
        family = psutil.Process(self.process.pid).children(recursive=True)
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_SECONDS)
        finally:
            for left in psutil.wait_procs(family, timeout=10)[1]:
                left.kill()
        tracers = [
            process
            for process in psutil.process_iter(["cmdline"])
            if str(self.trace_of("up")) in (process.info["cmdline"] or [])
        ]
        assert psutil.wait_procs(tracers, timeout=30)[1] == []


@pytest.fixture(scope="module")
def traced_stack(
    tmp_path_factory: pytest.TempPathFactory, short_times: dict[str, str]
) -> Iterator[TracedStack]:
    stack = TracedStack(tmp_path_factory.mktemp("traced"), **short_times)
    try:
        stack.await_ready()
        yield stack
    finally:
        if stack.process.poll() is None:
            stack.stop()


def do_the_main_job(api: Api, file_server: str) -> None:
    """Add a picture by URL and one as Base64, search, and delete."""
    api.create("shop", (FIRST, SECOND))
    contents = {
        (FIRST.product_id, "by-url"): f"{file_server}/{FIRST.path.name}",
        (SECOND.product_id, "by-base64"): as_base64(SECOND.path),
    }
    task_id = api.add(
        "shop",
        [
            {"product_id": product, "image_id": image, "image_content": content}
            for (product, image), content in contents.items()
        ],
    )
    assert set(ids(api.finish(task_id)["succeeded_list"])) == {"by-url", "by-base64"}
    for content in (as_base64(FIRST.path), f"{file_server}/{FIRST.path.name}"):
        found = api.ok("product_search", collection_name="shop", image_content=content)
        assert found["images"][0]["image_id"] == "by-url"
    api.ok(
        "delete_image",
        collection_name="shop",
        image_id_list=[{"product_id": FIRST.product_id, "image_id": "by-url"}],
    )


def test_from_its_start_to_its_end_the_stack_talks_to_its_own_servers_alone(
    traced_stack: TracedStack, file_server: str
) -> None:
    api = Api(traced_stack.url)
    do_the_main_job(api, file_server)
    api.close()
    for page in ("workers", "tasks", "broker", "metrics"):
        assert requests.get(f"{traced_stack.flower_url}/{page}", timeout=30).status_code == 200
    doctor = traced_stack.run("doctor", "--model")
    assert doctor.returncode == 0, doctor.stdout + doctor.stderr
    own_ports = traced_stack.own_ports
    time.sleep(IDLE_SECONDS)
    traced_stack.stop()
    files = urlsplit(file_server).port
    assert files is not None
    up, doctor_trace = (
        traced_stack.trace_of(command).read_text("utf-8") for command in ("up", "doctor")
    )
    assert strangers(up, own_ports | {files}) == []
    assert strangers(doctor_trace, own_ports) == []
    # The traces are those of the stack: its fetch worker asked the file server.
    assert Contact("127.0.0.1", files) in strangers(up, own_ports)
    assert list(traced_stack.home.rglob("*")) == []


CALLERS = {
    "look-up": "s = socket(AF_INET, SOCK_DGRAM); s.sendto(b'name', ('127.0.0.53', 53))",
    "look-up by a local resolver": (
        "s = socket(AF_UNIX); s.connect_ex('/run/systemd/resolve/none-is-here')"
    ),
    "connection": "s = socket(); s.settimeout(1); s.connect_ex(('127.0.0.2', 9))",
    "connection by IPv6": "s = socket(AF_INET6); s.settimeout(1); s.connect_ex(('::1', 9))",
    "address of a network": "s = socket(AF_INET, SOCK_DGRAM); s.connect_ex(('192.0.2.1', 7000))",
}
FOUND = {
    "look-up": Contact("127.0.0.53", 53),
    "look-up by a local resolver": Contact("/run/systemd/resolve/none-is-here", 0),
    "connection": Contact("127.0.0.2", 9),
    "connection by IPv6": Contact("::1", 9),
    "address of a network": Contact("192.0.2.1", 7000),
}


@pytest.mark.parametrize("kind", CALLERS)
def test_a_thread_of_a_child_that_calls_somebody_is_found(tmp_path: Path, kind: str) -> None:
    child = f"""
from contextlib import suppress
from socket import *
from threading import Thread
def call():
    with suppress(OSError):
        {CALLERS[kind]}
Thread(target=call).start()
"""
    parent = (
        f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}], check=True)"
    )
    trace = tmp_path / "trace"
    subprocess.run([*traced(trace), sys.executable, "-c", parent], check=True, timeout=60)
    assert strangers(trace.read_text("utf-8"), {7000}) == [FOUND[kind]]


def test_a_look_up_is_found_where_strace_wrote_the_call_in_two_lines() -> None:
    """As strace wrote what ONNX Runtime 1.32 does by itself."""
    trace = """
26040 socket(AF_INET6, SOCK_DGRAM, IPPROTO_IP) = 8
26041 connect(8, {sa_family=AF_UNIX, sun_path="/var/run/nscd/socket"}, 110 <unfinished ...>
26041 <... connect resumed>) = -1 ENOENT (No such file or directory)
26042 connect(8, {sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr("192.0.2.53")}, 16 <..>
26042 <... connect resumed>) = 0
26042 sendto(8, ""..., 50, MSG_NOSIGNAL, NULL, 0) = 50
"""
    assert strangers(trace, set()) == [Contact("192.0.2.53", 53)]


def test_a_trace_that_hides_an_address_is_refused() -> None:
    with pytest.raises(ValueError, match="no address"):
        strangers("26040 connect(8, 0x7ffe93a24180, 16) = 0", set())
