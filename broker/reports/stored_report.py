"""How a report is read that another release may have written (`index_reports`, `process_reports`).

During an upgrade, processes of two releases report side by side. So a new field needs a default,
and a field without one must stay as long as an older release reads it.
"""

from __future__ import annotations

import json
from dataclasses import fields
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Report = TypeVar("Report", bound="DataclassInstance")


def read_report(kind: type[Report], data: bytes) -> Report | None:
    """Return the report of this kind that `data`, a JSON object, contains.

    Fields that this release does not know are left out: a newer release wrote them. Returns None
    if a field without a default is missing: the report is of an older release.
    """
    known = {field.name for field in fields(kind)}
    stored = json.loads(data)
    try:
        return kind(**{name: value for name, value in stored.items() if name in known})
    except TypeError:  # a field is missing
        return None
