"""The checks of `snapsku doctor` of what Redis holds: queues, reports, room; see `cli.doctor`."""

from __future__ import annotations

from collections.abc import Iterator

import redis
from redis.exceptions import RedisError

from broker.availability import refusal_of_writes
from broker.reports.heartbeats import Consumption
from broker.reports.index_reports import IndexReports
from broker.reports.process_reports import ProcessReports
from broker.reports.queued_work import queued_work
from broker.reports.room_notice import RoomNotice
from broker.staged_bytes import staged_bytes_of
from catalog.database.connection import connect
from catalog.store import catalog_of
from cli.findings import Finding, Outcome, Wrong
from config.redaction import clean_text
from config.server_faults import redis_fault
from config.settings import Settings


def redis_server(client: redis.Redis) -> str:
    """Check that Redis takes writes, evicts no message and keeps them at a restart."""
    try:
        told = client.info()
        refusal = refusal_of_writes(client)
    except RedisError as fault:
        raise Wrong(redis_fault(fault)) from fault
    version = told.get("valkey_version") or told["redis_version"]
    if refusal is not None:
        why = clean_text(refusal, 200)
        raise Wrong(f"version {version}, takes no writes: {why}; nothing is lost, put that right")
    if told.get("maxmemory_policy") != "noeviction":
        raise Wrong(
            f"version {version}, maxmemory-policy {told.get('maxmemory_policy')}: messages may be "
            "evicted; set maxmemory-policy noeviction"
        )
    if not told.get("aof_enabled"):
        raise Wrong(
            f"version {version}, without appendonly: a restart loses messages and results until "
            "the sweep sends them again; set appendonly yes"
        )
    return f"version {version}, noeviction, appendonly"


def room(client: redis.Redis, settings: Settings) -> str:
    """Check that fetching does not wait because vision is behind."""
    seconds = RoomNotice(client).seconds()
    if seconds is not None:
        url = settings.mongo_url.get_secret_value()
        with connect(url, settings.mongo_timeout_seconds) as mongo:
            staged = staged_bytes_of(settings, client, catalog_of(settings, mongo))
        if not staged.has_room():
            raise Wrong(
                f"{settings.staged_bytes / 2**20:.0f} MiB wait for vision, and fetching has waited "
                f"for {seconds:.0f} s; look at the vision workers, run more of them, or raise "
                "SNAPSKU_STAGED_BYTES"
            )
    return "fetching does not wait"


def queue(client: redis.Redis, consumption: Consumption, name: str) -> str:
    """Check that a queue is consumed, and return how much work waits in it, and how long."""
    waiting = queued_work(client, [name])[name]
    age = consumption.ages([name])[name]
    if not consumption.is_stalled(age):
        return f"{waiting}, consumed {age:.0f} s ago"
    when = "never or long ago" if age is None else f"{age:.0f} s ago"
    raise Wrong(f"{waiting}, last consumed {when}; start or restart its worker, and beat")


def vectors(reports: IndexReports) -> str:
    """Check that the index left out no image because of its vector."""
    report, _ = reports.latest()
    if report is None:
        return "no index process tells of any"
    if report.bad_vectors:
        raise Wrong(
            f"{report.bad_vectors} can't be searched, of {report.bad_images}; "
            "delete these images and add them again"
        )
    return "none that the index left out"


def processes(reports: ProcessReports) -> Iterator[Finding]:
    """Yield the clock offset and the free disk of every process that runs.

    A clock that is off is not wrong: rows use the database's time, on every machine.
    """
    for one in reports.latest():
        report = one.report
        off = report.clock_offset_seconds
        text = f"clock {off:+.1f} s off, {report.disk_free_bytes / 2**30:.1f} GiB free"
        if report.clock_is_off:
            text += "; see to NTP on its machine: a signed call is refused from 5 minutes on"
        yield Finding(report.process, Outcome.OK, f"{text}, told {one.age_seconds:.0f} s ago")
