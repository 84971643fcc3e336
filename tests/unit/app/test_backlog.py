"""Free disk as a limit: the disk that fills may be that of another machine."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import fakeredis
import pytest
from pymongo.errors import OperationFailure

from app.auth.backlog import Backlog
from app.http.envelope import Busy
from broker.reports.process_reports import ProcessReport, ProcessReports
from config.settings import Settings

LIMIT = 2**20
PLENTY = 2**40


class Database:
    """A MongoDB that answers `dbStats` with this."""

    def __init__(self, answer: dict[str, Any] | Exception, **info: str) -> None:
        self._answer = answer
        self.asked = 0
        self.client = self
        self.server_info = lambda: info

    def __getitem__(self, name: str) -> Any:
        return SimpleNamespace(command=self._stats)

    def _stats(self, name: str) -> dict[str, Any]:
        assert name == "dbStats"
        self.asked += 1
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer


EMBEDDED = {"fsTotalSize": LIMIT, "fsUsedSize": LIMIT}


@pytest.fixture
def reports(redis_client: fakeredis.FakeRedis) -> ProcessReports:
    return ProcessReports(redis_client)


def backlog(reports: ProcessReports, database: Database, limit: int = LIMIT) -> Backlog:
    values = Settings(disk_free_bytes=limit, backlog_images=0, backlog_bytes=0, backlog_seconds=0)
    catalog: Any = database
    return Backlog(catalog, values, reports)


def test_enough_disk_everywhere_is_enough(reports: ProcessReports) -> None:
    reports.publish(ProcessReport("index process 1 on a", 0.0, PLENTY))
    backlog(reports, Database(EMBEDDED)).check()


def test_a_disk_that_is_short_on_another_machine_is_named(reports: ProcessReports) -> None:
    reports.publish(ProcessReport("fetch process 1 on a", 0.0, PLENTY))
    reports.publish(ProcessReport("index process 2 on b", 0.0, LIMIT - 1))
    with pytest.raises(Busy, match="index process 2 on b"):
        backlog(reports, Database(EMBEDDED)).check()


def test_the_disk_of_this_machine_counts_while_redis_is_away(
    reports: ProcessReports, redis_server: fakeredis.FakeServer
) -> None:
    redis_server.connected = False
    backlog(reports, Database(EMBEDDED)).check()
    with pytest.raises(Busy, match="this machine"):
        backlog(reports, Database(EMBEDDED), limit=2**62).check()


def test_the_disk_of_a_mongodb_that_tells_it_counts(reports: ProcessReports) -> None:
    full = Database({"fsTotalSize": float(PLENTY), "fsUsedSize": PLENTY - 5.0}, version="7.0.1")
    with pytest.raises(Busy, match="MongoDB"):
        backlog(reports, full).check()


@pytest.mark.parametrize(
    "answer", [{}, {"fsTotalSize": 0, "fsUsedSize": 0}, OperationFailure("not allowed")]
)
def test_a_mongodb_that_tells_no_disk_holds_nothing_up(
    reports: ProcessReports, answer: dict[str, Any] | Exception
) -> None:
    backlog(reports, Database(answer, version="7.0.1")).check()


def test_the_embedded_database_is_never_asked_since_it_reads_all_rows_for_it(
    reports: ProcessReports,
) -> None:
    database = Database(EMBEDDED)
    backlog(reports, database).check()
    assert database.asked == 0
