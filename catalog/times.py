"""How long things in the catalogue may take or stay, in one place."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True)
class Times:
    """The times of a catalogue; the settings say them in seconds."""

    #: Whoever is silent so long is dead: a stage, a deletion, a message to the index.
    lease: timedelta = timedelta(seconds=30)
    #: An add_image that has not answered after it was cut off, and is rolled back.
    submission: timedelta = timedelta(minutes=2)
    #: A collection's counters are recounted so long after their last change.
    recount: timedelta = timedelta(minutes=1)
    #: A finished task is forgotten after it, with the rows of its failed images.
    task: timedelta = timedelta(days=7)
    #: The row of a deleted image is removed after it.
    deleted: timedelta = timedelta(hours=1)
    #: The answer to a call with an Idempotency-Key is kept so long.
    key: timedelta = timedelta(days=1)
    #: A chunk waits for its next try no longer than this.
    retry: timedelta = timedelta(minutes=3)
