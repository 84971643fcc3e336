"""What `snapsku up` checks before it starts anything: a line for each thing that can't work.

Each line says what is wrong and what to do. What may pass by itself, such as a server that is away
for a while, is no fault here: the processes wait for it.
"""

from __future__ import annotations

import errno
import http.client
import importlib.util
import socket
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pymongo.errors import AutoReconnect, PyMongoError
from redis.exceptions import AuthenticationError, BusyLoadingError, RedisError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from broker.availability import refusal_of_writes
from broker.redis_connection import connect_redis
from catalog.database.connection import connect
from config.redaction import clean_text
from config.server_faults import CLOSED, mongo_fault, redis_fault
from config.settings import DEFAULT_WEIGHTS, Settings, SettingsError
from vision.detectors.product import WEIGHTS_FILE as DETECTOR_WEIGHTS
from vision.embedders.product import WEIGHTS_FILE as EMBEDDER_WEIGHTS
from vision.onnx_network import read_exported
from vision.options import ONNXRUNTIME, PRODUCT_DETECTOR, PRODUCT_EMBEDDER
from workers.support.model import options_of

#: Timeout for whatever answers on a port that is taken.
HTTP_SECONDS = 2.0

#: A port may be held for a moment by what was killed just now.
PORT_SECONDS = 3.0

#: Processes that load the model.
SEEING = ("vision", "search")


class PreflightError(SettingsError):
    """Something keeps the processes from working; nothing was started."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


def require(settings: Settings, numbers: Mapping[str, int], folder: Path) -> None:
    """Raise PreflightError if something keeps these processes from working; see `faults`."""
    found = faults(settings, numbers, folder)
    if found:
        raise PreflightError(found)


def faults(settings: Settings, numbers: Mapping[str, int], folder: Path) -> list[str]:
    """Return what keeps these processes from working, a line each; [] if nothing does.

    `numbers` are processes by kind, `folder` is the one in which they run.
    """
    found = [
        *_faults_of_ports(settings, numbers),
        *_faults_of_servers(settings),
        *(_faults_of_models(settings, folder) if any(map(numbers.get, SEEING)) else ()),
    ]
    return list(dict.fromkeys(found))


def _faults_of_ports(settings: Settings, numbers: Mapping[str, int]) -> Iterator[str]:
    wanted = {
        kind: (setting, port)
        for kind, setting, port in (
            ("api", "SNAPSKU_PORT", settings.port),
            ("flower", "SNAPSKU_FLOWER_PORT", settings.flower_port),
        )
        if numbers.get(kind)
    }
    if len(wanted) == 2 and settings.port == settings.flower_port:
        yield f"API and Flower have the same port, {settings.port}; change SNAPSKU_FLOWER_PORT"
        return
    for setting, port in wanted.values():
        fault = port_fault(settings.host, port, setting)
        if fault is not None:
            yield fault


def port_fault(host: str, port: int, setting: str) -> str | None:
    """Return why no server can listen on a port, None if one can; `setting` names the port."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError:
        return f"SNAPSKU_HOST={host} is no address; set it to one of this machine"
    give_up_at = time.monotonic() + PORT_SECONDS
    while (error := _fault_of_binding(found[0])) is not None:
        if error.errno == errno.EADDRINUSE:
            if time.monotonic() < give_up_at:
                time.sleep(0.1)
                continue
            holder = "another snapsku" if _is_snapsku(host, port) else "another program"
            return f"port {port} of {host} is in use by {holder}; stop it, or change {setting}"
        if error.errno == errno.EADDRNOTAVAIL:
            return f"SNAPSKU_HOST={host} is no address of this machine; set it to one"
        if error.errno == errno.EACCES:
            return f"port {port} is for root alone; set {setting} to 1024 or more"
        return f"port {port} of {host} can't be used ({error.strerror}); change {setting}"
    return None


def _fault_of_binding(found: Any) -> OSError | None:
    """Return why no program can listen at an address of `getaddrinfo`, None if one can."""
    family, kind, protocol, _, address = found
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
            probe.listen()
        except OSError as error:
            return error
    return None


def _is_snapsku(host: str, port: int) -> bool:
    """Return whether the API of a stack, or its Flower, answers on a port."""
    for path, answer in (("/healthz", b'{"status":"ok"}'), ("/healthcheck", b"OK")):
        connection = http.client.HTTPConnection(host, port, timeout=HTTP_SECONDS)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            # Flower that wants a password tells its name alone.
            if response.read(100).strip() == answer or (
                "flower" in response.headers.get("WWW-Authenticate", "")
            ):
                return True
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
    return False


def _faults_of_servers(settings: Settings) -> Iterator[str]:
    """Yield why a server that is named refuses us for good; nothing for one that is away."""
    redis_url = settings.redis_url.get_secret_value()
    if redis_url:
        try:
            seconds = settings.redis_timeout_seconds
            with connect_redis(redis_url, seconds, seconds) as client:
                refusal = refusal_of_writes(client)
            if refusal is not None:
                yield f"Redis takes no writes: {clean_text(refusal, 200)}; put that right first"
        except RedisError as error:
            if not _may_pass(error):
                yield f"Redis {redis_fault(error)}"
    mongo_url = settings.mongo_url.get_secret_value()
    if mongo_url:
        try:
            with connect(mongo_url, settings.mongo_timeout_seconds) as database:
                database[settings.mongo_database].command("ping")
                database[settings.mongo_database]["doctor"].find_one()
        except PyMongoError as error:
            if not _may_pass(error):
                yield f"MongoDB {mongo_fault(error)}"


def _may_pass(error: Exception) -> bool:
    if isinstance(error, AuthenticationError) or CLOSED.search(str(error)):
        return False
    passing = (RedisConnectionError, RedisTimeoutError, BusyLoadingError, AutoReconnect)
    return isinstance(error, passing)


def _faults_of_models(settings: Settings, folder: Path) -> Iterator[str]:
    if settings.engine == ONNXRUNTIME and importlib.util.find_spec("onnxruntime") is None:
        yield "the package onnxruntime is not installed; install it, or set SNAPSKU_ENGINE=torch"
    own = {PRODUCT_DETECTOR: DETECTOR_WEIGHTS, PRODUCT_EMBEDDER: EMBEDDER_WEIGHTS}
    if options_of(settings).is_exported:
        for file in own.values():
            try:
                read_exported(file)
            except ValueError as error:
                yield str(error)
        return
    for setting, model, weights in (
        ("SNAPSKU_DETECTOR_WEIGHTS", settings.detector, settings.detector_weights),
        ("SNAPSKU_EMBEDDER_WEIGHTS", settings.embedder, settings.embedder_weights),
    ):
        if weights == DEFAULT_WEIGHTS:
            if model in own and not own[model].is_file():
                yield f"the weights {own[model]} are missing; install them anew"
        # Other names are those of torchvision's weights, and only torch knows them.
        elif (model in own or "/" in weights) and not (folder / weights).is_file():
            yield f"{setting}={weights} is not a file, looked for at {folder / weights}"
