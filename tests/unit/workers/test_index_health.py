"""What the index process says of itself, and how it notices that another one says so as well."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import fakeredis
import pytest
from structlog.testing import capture_logs

from workers.catalog_index import CatalogIndex, IndexHealth
from workers.index_health import HealthReporter
from workers.staging import IndexReport, IndexReports

REPORT = IndexReport("process 7 on here", True, 10, 0, 0, 0, "", "")
HEALTHY = IndexHealth(is_complete=True, sets=10)

Reporting = Callable[..., HealthReporter]


@pytest.fixture
def reports(redis_client: fakeredis.FakeRedis) -> IndexReports:
    return IndexReports(redis_client, 30.0)


@pytest.fixture
def reporting(reports: IndexReports) -> Reporting:
    """Give a function that makes the reporter of a process."""

    def make(process: str = "process 7 on here", seconds: float = 30.0) -> HealthReporter:
        return HealthReporter(lambda: HEALTHY, lambda: reports, seconds, process)

    return make


def said(reports: IndexReports) -> IndexReport:
    report, _ = reports.latest()
    assert report is not None
    return report


def test_a_report_is_read_as_it_was_written_and_expires(
    reports: IndexReports, redis_client: fakeredis.FakeRedis
) -> None:
    assert reports.latest() == (None, "")
    assert reports.publish(REPORT) is None
    assert reports.latest() == (REPORT, "")
    assert reports.publish(replace(REPORT, sets=11)) == REPORT
    assert 29_000 < redis_client.pttl("index:report") <= 30_000


def test_a_report_of_another_release_is_none(
    reports: IndexReports, redis_client: fakeredis.FakeRedis
) -> None:
    redis_client.set("index:report", '{"process": "x", "mood": 7}')
    assert reports.latest() == (None, "")
    assert reports.publish(REPORT) is None


def test_what_a_process_says_is_its_health(reports: IndexReports, reporting: Reporting) -> None:
    reporting().report()
    assert said(reports) == REPORT


def test_a_thread_renews_it(reports: IndexReports, redis_client: fakeredis.FakeRedis) -> None:
    looks = []

    def health() -> IndexHealth:
        looks.append(1)
        if len(looks) == 3:
            reporter.stop()
        return HEALTHY

    reporter = HealthReporter(health, lambda: reports, 0.05, "x")
    reporter.start()
    reporter._thread.join(10)
    assert not reporter._thread.is_alive()
    assert len(looks) == 3


def test_the_report_of_the_process_before_is_no_rival(
    reports: IndexReports, reporting: Reporting
) -> None:
    reporting("process 6 on here").report()
    second = reporting()
    with capture_logs() as lines:
        second.report()
        second.report()
    assert said(reports).rival == ""
    assert lines == []


def test_two_processes_with_directories_of_their_own_notice_each_other(
    reports: IndexReports, reporting: Reporting
) -> None:
    first, second = reporting("first"), reporting("second")
    with capture_logs() as lines:
        for _ in range(3):
            first.report()
            second.report()
        first.report()
        assert (said(reports).process, said(reports).rival) == ("first", "second")
        second.report()
        assert (said(reports).process, said(reports).rival) == ("second", "first")
    assert [line["other"] for line in lines] == ["second", "first"], "each says it once"


def test_a_rival_that_ended_is_forgotten_after_a_while(
    reports: IndexReports, reporting: Reporting, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr("workers.index_health.time.monotonic", lambda: clock[0])
    first = reporting("first")
    first.report()
    reporting("second").report()
    for _ in range(2):
        first.report()
    assert said(reports).rival == "second"
    clock[0] = 31.0
    first.report()
    assert said(reports).rival == ""


def test_a_redis_that_is_away_is_a_line_in_the_log() -> None:
    server = fakeredis.FakeServer()
    server.connected = False
    with fakeredis.FakeRedis(server=server) as client, capture_logs() as lines:
        HealthReporter(lambda: HEALTHY, lambda: IndexReports(client), 30.0, "x").report()
    assert [line["log_level"] for line in lines] == ["warning"]


def test_a_process_that_has_not_looked_at_the_database_does_not_know_its_sets() -> None:
    def forbidden() -> None:
        raise AssertionError("the database was asked")

    shards = CatalogIndex(forbidden, shard_capacity=100)  # type: ignore[arg-type]
    assert shards.health() == IndexHealth(is_complete=False)
