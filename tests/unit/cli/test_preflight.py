"""What `snapsku up` refuses before it starts anything."""

from __future__ import annotations

import errno
import http.server
import importlib.util
import os
import shutil
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli import preflight
from cli.preflight import faults, port_fault
from config.embedded import free_port
from config.settings import Settings
from vision.detectors import product as product_detector

NUMBERS = {"api": 1, "vision": 1, "flower": 1}


@pytest.fixture(autouse=True)
def impatient(environment: pytest.MonkeyPatch) -> None:
    environment.setattr(preflight, "PORT_SECONDS", 0.0)


def settings(**values: Any) -> Settings:
    return Settings(**{"port": free_port(), "flower_port": free_port(), **values})


def only(found: list[str]) -> str:
    (line,) = found
    assert "\n" not in line
    return line


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)
        yield server.getsockname()[1]


class _Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"status":"ok"}\n')

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def another_stack() -> Iterator[int]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def test_a_machine_on_which_all_is_well_has_no_faults(tmp_path: Path) -> None:
    assert faults(settings(), NUMBERS, tmp_path) == []


def test_a_port_that_another_program_has_is_told(
    environment: pytest.MonkeyPatch, tmp_path: Path, taken: int
) -> None:
    environment.setattr(preflight, "HTTP_SECONDS", 0.1)
    told = only(faults(settings(port=taken), NUMBERS, tmp_path))
    assert told == (
        f"port {taken} of 127.0.0.1 is in use by another program; stop it, or change SNAPSKU_PORT"
    )


def test_a_port_that_another_stack_has_is_told_as_such(tmp_path: Path, another_stack: int) -> None:
    told = only(faults(settings(flower_port=another_stack), NUMBERS, tmp_path))
    assert told == (
        f"port {another_stack} of 127.0.0.1 is in use by another snapsku; stop it, or change "
        "SNAPSKU_FLOWER_PORT"
    )


def test_flower_that_wants_a_password_is_known_as_snapsku() -> None:
    class Locked(_Answers):
        def do_GET(self) -> None:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="flower"')
            self.end_headers()

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Locked) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        told = port_fault("127.0.0.1", server.server_port, "SNAPSKU_FLOWER_PORT")
        server.shutdown()
    assert told is not None
    assert "in use by another snapsku" in told


def test_a_port_that_becomes_free_in_a_moment_is_waited_for(
    environment: pytest.MonkeyPatch,
) -> None:
    environment.setattr(preflight, "PORT_SECONDS", 30.0)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        threading.Timer(0.3, server.close).start()
        assert port_fault("127.0.0.1", port, "SNAPSKU_PORT") is None


def test_the_port_of_a_process_that_is_not_wanted_may_be_taken(tmp_path: Path, taken: int) -> None:
    numbers = {**NUMBERS, "flower": 0}
    assert faults(settings(flower_port=taken), numbers, tmp_path) == []


def test_one_port_for_both_is_refused(tmp_path: Path) -> None:
    port = free_port()
    told = only(faults(settings(port=port, flower_port=port), NUMBERS, tmp_path))
    assert told.endswith(f"the same port, {port}; change SNAPSKU_FLOWER_PORT")


def test_an_address_of_another_machine_is_refused() -> None:
    told = port_fault("192.0.2.1", free_port(), "SNAPSKU_PORT")
    assert told == "SNAPSKU_HOST=192.0.2.1 is no address of this machine; set it to one"


def test_a_host_that_is_no_address_is_refused() -> None:
    told = port_fault("300.300.300.300.", 8000, "SNAPSKU_PORT")
    assert told is not None
    assert told.startswith("SNAPSKU_HOST=300.300.300.300. is no address; set it")


def test_a_port_for_root_alone_is_refused(environment: pytest.MonkeyPatch) -> None:
    def bind(*_: Any) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    environment.setattr(socket.socket, "bind", bind)
    told = port_fault("127.0.0.1", 80, "SNAPSKU_PORT")
    assert told == "port 80 is for root alone; set SNAPSKU_PORT to 1024 or more"


@pytest.fixture
def weights(environment: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A copy of the detector's network, as if it were the installed one."""
    copy = tmp_path / product_detector.WEIGHTS_FILE.name
    for suffix in (".onnx", ".json"):
        file = product_detector.WEIGHTS_FILE.with_suffix(suffix)
        shutil.copy(file, copy.with_suffix(suffix))
    environment.setattr(preflight, "DETECTOR_WEIGHTS", copy)
    return copy.with_suffix(".onnx")


def test_damaged_weights_are_told(weights: Path, tmp_path: Path) -> None:
    assert faults(settings(), NUMBERS, tmp_path) == []
    with weights.open("r+b") as file:
        file.seek(5000)
        file.write(b"damaged")
    told = only(faults(settings(), NUMBERS, tmp_path))
    assert told.startswith(f"the network {weights} is damaged")
    assert faults(settings(), {"api": 1}, tmp_path) == []


def test_missing_weights_are_told(weights: Path, tmp_path: Path) -> None:
    weights.unlink()
    told = only(faults(settings(), NUMBERS, tmp_path))
    assert told.startswith(f"cannot read the network {weights}")


@pytest.mark.parametrize(
    ("detector", "file", "is_told"),
    [
        ("product-detector", "own.safetensors", True),
        ("fcos_resnet50_fpn", "weights/own.pth", True),
        ("fcos_resnet50_fpn", "COCO_V1", False),
    ],
)
def test_a_file_of_weights_that_is_not_there_is_told(
    tmp_path: Path, detector: str, file: str, is_told: bool
) -> None:
    chosen = settings(detector=detector, detector_weights=file)
    found = faults(chosen, NUMBERS, tmp_path)
    place = tmp_path / file
    expected = f"SNAPSKU_DETECTOR_WEIGHTS={file} is not a file, looked for at {place}"
    assert found == ([expected] if is_told else [])
    if is_told:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).touch()
        assert faults(chosen, NUMBERS, tmp_path) == []


def test_networks_that_another_engine_does_not_read_may_be_missing(
    weights: Path, environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    weights.unlink()
    (line,) = faults(settings(engine="torch"), NUMBERS, tmp_path)
    assert (
        line == f"the weights {weights.with_suffix('.safetensors')} are missing; install them anew"
    )
    weights.with_suffix(".safetensors").touch()
    assert faults(settings(engine="torch"), NUMBERS, tmp_path) == []


def test_an_engine_that_is_not_installed_is_told(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    environment.setattr(importlib.util, "find_spec", lambda _: None)
    told = only(faults(settings(), NUMBERS, tmp_path))
    assert told.startswith("the package onnxruntime is not installed; install it, or set SNAPSKU_")
    assert faults(settings(engine="torch"), NUMBERS, tmp_path) == []


def test_servers_that_are_away_are_waited_for(tmp_path: Path) -> None:
    chosen = settings(
        redis_url=f"redis://127.0.0.1:{free_port()}/0",
        mongo_url=f"mongodb://127.0.0.1:{free_port()}/",
        mongo_timeout_seconds=0.2,
    )
    assert faults(chosen, NUMBERS, tmp_path) == []


def test_all_faults_are_told_at_once(tmp_path: Path, another_stack: int) -> None:
    chosen = settings(port=another_stack, detector_weights="none.safetensors")
    assert len(faults(chosen, NUMBERS, tmp_path)) == 2
