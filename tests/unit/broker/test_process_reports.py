"""Reports of processes: each is read as it was written, and forgotten when its process is gone."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import fakeredis
import pytest
from structlog.testing import capture_logs

from broker.reports.process_reports import (
    GOOD_SECONDS,
    REPORT_SECONDS,
    ProcessReport,
    ProcessReporter,
    ProcessReports,
    least_free,
)
from catalog.database.database_time import DATABASE_TIME
from config.files import free_bytes

REPORT = ProcessReport("vision process 7 on here", 0.25, 5 * 2**30)
OTHER = ProcessReport("api process 8 on there", -30.0, 2**30)


@pytest.fixture
def reports(redis_client: fakeredis.FakeRedis) -> ProcessReports:
    return ProcessReports(redis_client)


def test_reports_are_read_as_they_were_written(reports: ProcessReports) -> None:
    for report in (REPORT, OTHER, REPORT):
        reports.publish(report)
    found = reports.latest()
    assert [one.report for one in found] == [OTHER, REPORT]
    assert all(0 <= one.age_seconds < 50 for one in found)


def test_a_report_outlives_three_that_fail() -> None:
    assert GOOD_SECONDS > 3 * REPORT_SECONDS


def test_how_old_a_report_is_is_told_by_redis(
    reports: ProcessReports, redis_client: fakeredis.FakeRedis
) -> None:
    reports.publish(REPORT)
    (key,) = redis_client.keys("process:*")
    redis_client.pexpire(key, redis_client.pttl(key) - 20_000)
    (found,) = reports.latest()
    assert found.age_seconds == pytest.approx(20, abs=2)


def test_a_process_that_is_silent_is_forgotten_with_its_name(
    reports: ProcessReports, redis_client: fakeredis.FakeRedis
) -> None:
    reports.publish(REPORT)
    reports.publish(OTHER)
    for key in redis_client.keys("process:vision*"):
        redis_client.delete(key)
    assert [one.report for one in reports.latest()] == [OTHER]
    assert redis_client.smembers("processes") == {OTHER.process.encode()}
    assert all(redis_client.ttl(key) > 0 for key in redis_client.keys("process:*"))


def test_a_report_of_an_older_release_that_lacks_a_field_is_left_out(
    reports: ProcessReports, redis_client: fakeredis.FakeRedis
) -> None:
    reports.publish(REPORT)
    redis_client.sadd("processes", "old")
    redis_client.set("process:old", b'{"process": "old"}', ex=30)
    assert [one.report for one in reports.latest()] == [REPORT]


def test_a_report_of_a_newer_release_is_read(
    reports: ProcessReports, redis_client: fakeredis.FakeRedis
) -> None:
    redis_client.sadd("processes", REPORT.process)
    newer = asdict(REPORT) | {"memory_free_bytes": 2**30}
    redis_client.set(f"process:{REPORT.process}", json.dumps(newer), ex=30)
    assert [one.report for one in reports.latest()] == [REPORT]


@pytest.mark.parametrize(
    ("offset", "is_off"), [(0.0, False), (1.9, False), (-1.9, False), (2.1, True), (-25.0, True)]
)
def test_a_clock_is_off_from_two_seconds_on(offset: float, is_off: bool) -> None:
    assert replace(REPORT, clock_offset_seconds=offset).clock_is_off is is_off


def test_the_least_free_disk_is_that_of_any_machine(reports: ProcessReports) -> None:
    assert least_free(reports.latest()) is None
    reports.publish(REPORT)
    reports.publish(OTHER)
    assert least_free(reports.latest()) == OTHER


def test_a_process_reports_its_own_clock_and_disk(
    reports: ProcessReports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DATABASE_TIME, "offset_seconds", lambda: -3.25)
    ProcessReporter("fetch", reports, tmp_path / "not there yet").report()
    (found,) = reports.latest()
    assert found.report.process.startswith("fetch process ")
    assert found.report.clock_offset_seconds == -3.25
    assert found.report.disk_free_bytes == pytest.approx(free_bytes(tmp_path), rel=0.1)


def test_a_redis_that_is_away_is_told_once(tmp_path: Path) -> None:
    redis_server = fakeredis.FakeServer()
    reports = ProcessReports(fakeredis.FakeRedis(server=redis_server))
    reporter = ProcessReporter("fetch", reports, tmp_path)
    redis_server.connected = False
    with capture_logs() as lines:
        reporter.report()
        reporter.report()
    assert [line["event"] for line in lines] == ["process not reported"]
    redis_server.connected = True
    reporter.report()
    assert len(reports.latest()) == 1
