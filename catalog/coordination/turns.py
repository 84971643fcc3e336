"""Turns: which process does a step of the background work, so that two share the steps.

A turn is taken for seconds and renewed by its holder, so that a holder that died is
overtaken soon. Two holders after a stall are harmless: every change of a row is a
compare-and-set, and a turn only saves doing the same twice.
"""

from __future__ import annotations

import uuid
from datetime import timedelta

from pymongo.errors import DuplicateKeyError

from catalog.database.connection import Rows, now, stamp

#: A holder that is silent so long is overtaken.
TURN = timedelta(seconds=4)


class Turns:
    """One row per step; `_id` is the name of the step."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def take(self, step: str) -> str | None:
        """Return the id of the holder that has the turn now, None while another has it."""
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
        """Keep a turn for longer; False where it was overtaken."""
        renewed = self._rows.update_one(
            {"_id": step, "holder": holder}, {"$set": {"until": stamp(now() + TURN)}}
        )
        return renewed.matched_count == 1

    def give_back(self, step: str, holder: str) -> None:
        """Let another have the turn at once."""
        self._rows.delete_one({"_id": step, "holder": holder})
