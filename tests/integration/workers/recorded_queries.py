"""Which queries the code sends to MongoDB, and how the server says that it answers them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pymongo import monitoring
from pymongo.database import Database

from catalog.database.connection import Row
from catalog.schema.indexes import INDEXES

#: How MongoDB calls steps that read an index, or nothing at all.
BY_INDEX = {
    *("IXSCAN", "IDHACK", "CLUSTERED_IXSCAN", "EOF"),
    *("EXPRESS_IXSCAN", "EXPRESS_CLUSTERED_IXSCAN"),
}


@dataclass(frozen=True)
class Query:
    """A query as it was sent first of all that have its shape."""

    database: str
    table: str
    filter: Row
    sort: Row

    def __str__(self) -> str:
        sort = f" sort {json.dumps(self.sort)}" if self.sort else ""
        return f"{self.table} {json.dumps(_shape(self.filter))}{sort}"

    @property
    def fields(self) -> tuple[str, ...]:
        return tuple(self.filter)


def _shape(value: Any) -> Any:
    """Return a filter without its values; operators, nested fields and empty lists stay.

    The embedded server reads a whole table for `$in` of an empty list.
    """
    if isinstance(value, dict):
        return {name: _shape(inner) for name, inner in value.items()}
    return value if value == [] else "?"


class Recorder(monitoring.CommandListener):
    """Keeps one query of each shape that is sent while it records."""

    def __init__(self) -> None:
        self.queries: dict[str, Query] = {}
        self._is_recording = False

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Note the queries that are sent while the block runs."""
        self._is_recording = True
        try:
            yield
        finally:
            self._is_recording = False

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        if self._is_recording:
            for query in _queries(event.command_name, event.database_name, dict(event.command)):
                self.queries.setdefault(str(query), query)

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        """Do nothing: the beginning has told all."""

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        """Do nothing: the beginning has told all."""


def _queries(name: str, database: str, command: Row) -> Iterator[Query]:
    table = str(command.get(name, ""))
    if name == "find":
        yield Query(database, table, command.get("filter", {}), dict(command.get("sort", {})))
    elif name in ("count", "distinct"):
        yield Query(database, table, command.get("query", {}), {})
    elif name == "findAndModify":
        yield Query(database, table, command["query"], dict(command.get("sort", {})))
    elif name == "aggregate":
        first = command["pipeline"][0] if command["pipeline"] else {}
        yield Query(database, table, first.get("$match", {}), {})
    elif name in ("update", "delete"):
        for write in command[f"{name}s"]:
            yield Query(database, table, write["q"], {})


def is_by_index(rows: Database[Row], query: Query) -> bool:
    """Return whether the server finds a query's rows by one index, and needs not sort them.

    Raises AssertionError where the server does not explain; then name one that does in
    TEST_MONGO_URL.
    """
    asked = {"find": query.table, "filter": query.filter}
    if query.sort:
        asked["sort"] = query.sort
    told = rows.command({"explain": asked, "verbosity": "queryPlanner"})
    plan = told.get("queryPlanner", {}).get("winningPlan")
    assert plan, "this server does not explain; name one in TEST_MONGO_URL that does"
    if isinstance(plan, list):  # the embedded server: lines of SQLite, without a sort
        lines = [step["detail"] for step in plan]
        by_index = any(line.startswith(f"SEARCH {query.table} USING") for line in lines)
        scanned = any(line.startswith(f"SCAN {query.table}") for line in lines)
        return by_index and not scanned and (not query.sort or _is_in_order(query))
    steps = set(_steps(plan))
    return bool(steps & BY_INDEX) and not steps & {"COLLSCAN", "SORT"}


def _is_in_order(query: Query) -> bool:
    """Return whether the index that finds the rows has them in the order that is wanted."""
    declared = {index.fields for index in INDEXES if index.table == query.table} | {("_id",)}
    return tuple(query.sort) == query.fields and query.fields in declared


def _steps(plan: Any) -> Iterator[str]:
    if isinstance(plan, dict):
        if "stage" in plan:
            yield plan["stage"]
        # A filter may ask for a field that is called as the steps of a plan are.
        plan = [inner for name, inner in plan.items() if name != "filter"]
    if isinstance(plan, list):
        for inner in plan:
            yield from _steps(inner)
