"""Tell a person where things are as soon as the service that `snapsku up` started is ready."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from pymongo.errors import PyMongoError

from broker.flower_password import makes_password, password_file
from catalog.database.connection import connect
from catalog.store import catalog_of
from cli.embedded_database import FOR_TRIALS, warning
from config.data_directory import stack_id
from config.settings import Settings, with_embedded_servers

#: Seconds between two looks at /readyz.
LOOK_SECONDS = 0.5

#: For so long, what Redis holds of an earlier run may look like this one's.
STALE_SECONDS = 2.0

#: What is missing is told if the service is not ready after so many seconds, and again as often.
PATIENCE_SECONDS = 60.0

HTTP_SECONDS = 5.0


def address_of(host: str, port: int) -> str:
    """Return the URL at which this machine reaches a program that listens on `host`."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def places(settings: Settings, numbers: Mapping[str, int]) -> dict[str, str]:
    """Return what a person may want to open or look at, by its name."""
    api = address_of(settings.host, settings.port)
    found = {"API": api, "reference": f"{api}/docs"}
    if numbers.get("flower"):
        url = address_of(settings.host, settings.flower_port)
        is_made = makes_password(settings)
        found["Flower"] = f"{url}, password in {password_file(settings)}" if is_made else url
    found["data"] = str(settings.data_dir.resolve())
    if not settings.mongo_url.get_secret_value():
        found["database"] = _embedded(with_embedded_servers(settings))
    found["log"] = "the output of this command"
    return found


def _embedded(settings: Settings) -> str:
    url = settings.mongo_url.get_secret_value()
    try:
        with connect(url, settings.mongo_timeout_seconds) as client:
            return warning(catalog_of(settings, client)) or FOR_TRIALS
    except PyMongoError:
        return FOR_TRIALS  # it ended just now, which the supervisor repairs


@contextmanager
def told_when_ready(
    settings: Settings, numbers: Mapping[str, int], tell: Callable[[str], None]
) -> Iterator[None]:
    """Look at the API until the service is ready, in a thread, and `tell` the places then.

    Nothing is told if no API runs. The thread ends with the context.
    """
    if not numbers.get("api"):
        yield
        return
    ended = threading.Event()
    thread = threading.Thread(
        target=_wait, args=(settings, numbers, tell, ended), name="readiness", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _wait(
    settings: Settings,
    numbers: Mapping[str, int],
    tell: Callable[[str], None],
    ended: threading.Event,
) -> None:
    began = told_at = time.monotonic()
    ready = 0
    while not ended.wait(LOOK_SECONDS):
        missing = _missing(settings, time.monotonic() - began)
        ready = 0 if missing else ready + 1
        # The report of the index may still be that of the run before: it is written each second.
        if ready * LOOK_SECONDS > STALE_SECONDS:
            tell(told(settings, "ready", places(settings, numbers)))
            return
        if missing and time.monotonic() - told_at >= PATIENCE_SECONDS:
            told_at = time.monotonic()
            tell(told(settings, "not ready yet", {"missing": "; ".join(missing)}))


def told(settings: Settings, event: str, values: Mapping[str, str]) -> str:
    """Return lines for a person, or one line of JSON where the settings want the log so."""
    if settings.log_format == "json":
        moment = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        line = {"event": event, **values, "logger": __name__, "level": "info", "timestamp": moment}
        return json.dumps(line, ensure_ascii=False)
    width = max(map(len, values))
    lines = [f"  {name.ljust(width)}  {value}" for name, value in values.items()]
    return "\n".join([f"snapsku: {event}", *lines])


def _missing(settings: Settings, age: float) -> list[str]:
    """Return what is not ready of a stack that began `age` seconds ago; [] once all is."""
    url = address_of(settings.host, settings.port).removeprefix("http://")
    connection = http.client.HTTPConnection(url, timeout=HTTP_SECONDS)
    try:
        connection.request("GET", "/readyz")
        answer: dict[str, Any] = json.loads(connection.getresponse().read())
    except (OSError, http.client.HTTPException, ValueError):
        return ["the API does not answer"]
    finally:
        connection.close()
    if answer.get("stack") != stack_id(settings.data_dir):
        return ["the API of another stack answers on its port"]
    faults: list[str] = answer.get("faults", [])
    # Redis holds the heartbeats of the run before.
    consumed: dict[str, float | None] = answer.get("consumed_seconds_ago", {})
    old = [queue for queue, ago in consumed.items() if ago is not None and ago > age]
    return [*faults, *(f"queue {queue} is not consumed yet" for queue in old)]
