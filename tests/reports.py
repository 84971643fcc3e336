"""A report of an index that is well, for tests to change."""

from __future__ import annotations

from broker.reports.index_reports import IndexReport

INDEX_REPORT = IndexReport(
    process="process 7 on here",
    is_complete=True,
    sets=10,
    sets_not_ready=0,
    snapshots_lost=0,
    sets_not_saved=0,
    save_fault="",
    epoch=5,
)
