"""What the owner of the index says of itself, and what standbys say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import fakeredis
import pytest
from structlog.testing import capture_logs

from broker.reports.index_reports import IndexReport, IndexReports
from tests.reports import INDEX_REPORT
from workers.index_process.catalog_index import CatalogIndex
from workers.index_process.health import HealthReporter, IndexHealth
from workers.index_process.vector_engine import HnswEngine

HEALTHY = IndexHealth(is_complete=True, sets=10)

Reporting = Callable[..., HealthReporter]


@pytest.fixture
def reports(redis_client: fakeredis.FakeRedis) -> IndexReports:
    return IndexReports(redis_client, 30.0)


@pytest.fixture
def reporting(reports: IndexReports) -> Reporting:
    """Return a function that makes the reporter of a process."""

    def make(process: str = "process 7 on here", epoch: int | None = 5) -> HealthReporter:
        return HealthReporter(lambda: HEALTHY, lambda: reports, 30.0, process, lambda: epoch)

    return make


def said(reports: IndexReports) -> IndexReport:
    report, _ = reports.latest()
    assert report is not None
    return report


def test_a_report_is_read_as_it_was_written_and_expires(
    reports: IndexReports, redis_client: fakeredis.FakeRedis
) -> None:
    assert reports.latest() == (None, "")
    reports.publish(INDEX_REPORT)
    assert reports.latest() == (INDEX_REPORT, "")
    reports.publish(replace(INDEX_REPORT, sets=11))
    assert said(reports).sets == 11
    assert 29_000 < redis_client.pttl("index:report") <= 30_000


def test_a_report_of_another_release_is_none(
    reports: IndexReports, redis_client: fakeredis.FakeRedis
) -> None:
    redis_client.set("index:report", '{"process": "x", "mood": 7}')
    assert reports.latest() == (None, "")


def test_what_a_process_says_is_its_health(reports: IndexReports, reporting: Reporting) -> None:
    reporting().report()
    assert said(reports) == INDEX_REPORT


def test_a_thread_renews_it(reports: IndexReports, redis_client: fakeredis.FakeRedis) -> None:
    looks = []

    def health() -> IndexHealth:
        looks.append(1)
        if len(looks) == 3:
            reporter.stop()
        return HEALTHY

    reporter = HealthReporter(health, lambda: reports, 0.05, "x", lambda: 5)
    reporter.start()
    reporter._thread.join(10)
    assert not reporter._thread.is_alive()
    assert len(looks) == 3


def test_a_process_whose_lease_may_have_ended_says_nothing(
    reports: IndexReports, reporting: Reporting
) -> None:
    reporting().report()
    reporting("process 6 on there", epoch=None).report()
    assert said(reports) == INDEX_REPORT


def test_a_standby_is_named_as_long_as_it_says_so_and_until_it_owns_the_index(
    reports: IndexReports, redis_client: fakeredis.FakeRedis
) -> None:
    reports.stand_by("second")
    reports.stand_by("first")
    assert reports.standbys() == ["first", "second"]
    reports.publish(replace(INDEX_REPORT, process="second"))
    assert reports.standbys() == ["first"]
    redis_client.zincrby("index:standbys", -31, "first")
    assert reports.standbys() == []


def test_a_redis_that_is_away_is_a_line_in_the_log() -> None:
    server = fakeredis.FakeServer()
    server.connected = False
    with fakeredis.FakeRedis(server=server) as client, capture_logs() as lines:
        HealthReporter(
            lambda: HEALTHY, lambda: IndexReports(client, 30.0), 30.0, "x", lambda: 5
        ).report()
    assert [line["log_level"] for line in lines] == ["warning"]


def test_a_process_that_has_not_looked_at_the_database_does_not_know_its_sets() -> None:
    def forbidden() -> None:
        raise AssertionError("the database was asked")

    shards = CatalogIndex(forbidden, HnswEngine(100))  # type: ignore[arg-type]
    assert shards.health() == IndexHealth(is_complete=False)
