"""How long things in the catalogue may take or stay, in one place."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, kw_only=True)
class Durations:
    """The times of a catalogue; the settings say them in seconds."""

    #: Whoever is silent so long is dead: a stage, a deletion, a message to the index.
    lease: timedelta
    #: An add_image that has not answered after it was cut off, and is rolled back.
    submission: timedelta
    #: A collection's counters are recounted so long after their last change.
    recount: timedelta
    #: A finished task is forgotten after it, with the rows of its failed images.
    task: timedelta
    #: The row of a deleted image is removed after it.
    deleted: timedelta
    #: The answer to a call with an Idempotency-Key is kept so long.
    key: timedelta
    #: A chunk waits for its next try no longer than this.
    retry: timedelta
