"""Turns: which process does a step of the sweep, so that several processes share the steps.

A turn is a lease of some seconds that its holder renews, so that a dead holder is replaced
soon. Two holders after a stall are harmless: every change of a row is a compare-and-set, and a
turn only saves doing the same work twice.
"""

from __future__ import annotations

import uuid
from datetime import timedelta

from pymongo.errors import DuplicateKeyError

from catalog.database.connection import Rows, now, stamp

#: A holder that has not renewed its turn for so long is replaced.
TURN = timedelta(seconds=4)


class Turns:
    """One row per step; `_id` is the name of the step."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def take(self, step: str) -> str | None:
        """Take the turn and return a new holder id; None while another holder has it."""
        holder, moment = uuid.uuid4().hex, now()
        taken = {"holder": holder, "until": stamp(moment + TURN)}
        held = self._rows.find_one({"_id": step})
        if held is None:
            try:
                self._rows.insert_one({"_id": step, **taken})
            except DuplicateKeyError:
                return None
            return holder
        # One that ends much later than any turn does was taken by a clock that was set back since;
        # processes differ by milliseconds.
        if stamp(moment) < held["until"] <= stamp(moment + 2 * TURN):
            return None
        theirs = {"_id": step, "holder": held["holder"]}
        overtaken = self._rows.update_one(theirs | {"until": held["until"]}, {"$set": taken})
        return holder if overtaken.matched_count == 1 else None

    def renew(self, step: str, holder: str) -> bool:
        """Renew a turn; return False if another holder has taken it."""
        renewed = self._rows.update_one(
            {"_id": step, "holder": holder}, {"$set": {"until": stamp(now() + TURN)}}
        )
        return renewed.matched_count == 1

    def give_back(self, step: str, holder: str) -> None:
        """Release a turn, so that another process can take it at once."""
        self._rows.delete_one({"_id": step, "holder": holder})
