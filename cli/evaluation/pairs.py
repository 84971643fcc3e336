"""The file of pairs: which picture ought to find which product."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

QUERY, PRODUCT, CATEGORY = "query", "product_id", "category"


class PairsError(Exception):
    """The file of pairs can't be used; the text says where and why."""


@dataclass
class Pair:
    """A query and the products that are right for it."""

    query: str  #: a URL or a path, as the file has it
    category: str | None = None  #: which category to search; None for all
    products: set[str] = field(default_factory=set)

    @property
    def is_url(self) -> bool:
        """Whether the picture is fetched by the service."""
        return self.query.lower().startswith(("http://", "https://"))

    def path(self, folder: Path) -> Path:
        """Return the file of the picture; a relative path begins at `folder`."""
        return folder / self.query


def read_pairs(file: Path) -> list[Pair]:
    """Return the queries of a CSV file, in its order.

    The first line names the columns `query`, `product_id` and, if wanted, `category`; others are
    ignored. Lines with the same query and category name several right products of one query.

    Raises PairsError if the file can't be read, lacks a column or a value, or is empty.
    """
    try:
        # With the byte order mark that spreadsheets write.
        with file.open(encoding="utf-8-sig", newline="") as lines:
            pairs = _pairs(csv.DictReader(lines))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise PairsError(f"{file}: {error}") from error
    if not pairs:
        raise PairsError(f"{file} has no queries")
    return pairs


def _pairs(reader: csv.DictReader[str]) -> list[Pair]:
    missing = {QUERY, PRODUCT} - set(reader.fieldnames or ())
    if missing:
        raise PairsError(f"the first line must name the column {' and '.join(sorted(missing))}")
    found: dict[tuple[str, str], Pair] = {}
    for row in _stripped(reader):
        if not row.get(QUERY) or not row.get(PRODUCT):
            raise PairsError(f"line {reader.line_num} has no {QUERY} or no {PRODUCT}")
        category = row.get(CATEGORY, "")
        pair = found.setdefault((row[QUERY], category), Pair(row[QUERY], category or None))
        pair.products.add(row[PRODUCT])
    return list(found.values())


def _stripped(rows: Iterable[dict[str, str]]) -> Iterable[dict[str, str]]:
    # A line with too many values has them under None, and one with too few has None for some.
    return ({name: (value or "").strip() for name, value in row.items() if name} for row in rows)
