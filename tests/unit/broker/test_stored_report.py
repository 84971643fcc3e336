"""Reports of two releases side by side: each reads what it knows of the other's."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace

import pytest

from broker.reports.index_reports import IndexReport
from broker.reports.process_reports import ProcessReport
from broker.reports.stored_report import read_report
from tests.reports import INDEX_REPORT


@dataclass(frozen=True)
class Fruit:
    name: str
    weight: int
    colour: str = "green"


BAD_VECTORS = replace(INDEX_REPORT, bad_vectors=1, bad_images="shoes/1")
PROCESS_REPORT = ProcessReport("api process 8 on there", -30.0, 2**30)


@pytest.mark.parametrize("report", [BAD_VECTORS, PROCESS_REPORT], ids=["index", "process"])
def test_a_report_with_fields_of_a_newer_release_is_read(
    report: IndexReport | ProcessReport,
) -> None:
    data = json.dumps({**asdict(report), "mood": 7, "since": {"release": "next"}}).encode()
    assert read_report(type(report), data) == report


def test_a_field_with_a_default_may_be_missing() -> None:
    assert read_report(Fruit, b'{"name": "pear", "weight": 2}') == Fruit("pear", 2, "green")


def test_a_report_that_lacks_a_field_without_a_default_is_none() -> None:
    assert read_report(Fruit, b'{"name": "pear", "colour": "red"}') is None
