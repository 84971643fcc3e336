"""The durations of leases, retries and retention in the catalogue."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

#: The longest pause of a chunk before its next try.
LONGEST_PAUSE = timedelta(minutes=5)


@dataclass(frozen=True, kw_only=True)
class Durations:
    """The durations that the catalogue uses; the settings give them in seconds."""

    #: After it, a stage, a deletion or a message to the index that gave no sign counts as dead.
    lease: timedelta
    #: An add_image call that has not ended by then counts as cut off and is rolled back.
    submission: timedelta
    #: From the last change of a collection's counters to their recount.
    recount: timedelta
    #: From the end of a task to its removal, with the rows of its failed images.
    task: timedelta
    #: From the deletion of an image to the removal of its row.
    deleted: timedelta
    #: How long the answer to a call with an Idempotency-Key is kept.
    key: timedelta
