"""The tries of a URL: which outcome is final, and when what is not final is tried again.

An image that met a fault which may pass has used up a try, of `fetch_passes`. One whose host was
not asked has used up none: it waits for the host, up to a time.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

from broker.host_states import PAUSE_FACTOR
from catalog.database.connection import now
from catalog.database.durations import LONGEST_PAUSE
from catalog.flows.splitting import Wait
from catalog.rows.chunks import Chunk
from config.settings import settings
from contract.errors import ContractError
from download.batch import FetchOutcome
from download.faults import PutOffError, TransientFetchError

#: An image waits for a host that is down for this share of `fetch_down_seconds` at least.
LEAST_SHARE = 0.5

#: How long an image waits for a host that answers: one that asks for pauses, or of which too many
#: pictures are fetched.
LONGEST_WAIT = timedelta(minutes=30)

#: Pauses are up to so many times longer than planned, lest all images of a host come back at once.
JITTER = 1.25


def final_fault(
    outcome: FetchOutcome, passes: int, waited: timedelta = timedelta(0)
) -> ContractError | None:
    """Return the fault that ends an image with this outcome; None if another try may succeed.

    `passes` are its earlier tries, and `waited` is how long it has been put off for a host's sake.
    None if the outcome is bytes, too.
    """
    if isinstance(outcome, ContractError):
        return outcome
    if isinstance(outcome, PutOffError):
        patience = settings().fetch_down_seconds
        is_down = outcome.down_seconds >= patience
        least = timedelta(seconds=patience * LEAST_SHARE) if is_down else LONGEST_WAIT
        return outcome.fault if waited >= min(least, LONGEST_WAIT) else None
    if isinstance(outcome, TransientFetchError) and passes + 1 >= settings().fetch_passes:
        return outcome.fault
    return None


class _Try(NamedTuple):
    """The next try of a URL; those with the same one wait together."""

    passes: int
    pause_seconds: int
    put_off_at: datetime | None


def next_tries(chunk: Chunk, errors: Mapping[int, TransientFetchError]) -> list[Wait]:
    """Return when the images of a chunk, by label, are tried again that met these faults.

    The pauses become longer with each try, and end when the host wants it at the earliest.
    """
    moment = now()
    groups: dict[_Try, dict[int, str]] = {}
    for label, error in errors.items():
        pause, passes, put_off_at = error.retry_after_seconds or 0.0, chunk.passes, chunk.put_off_at
        if isinstance(error, PutOffError):
            put_off_at = put_off_at or moment
        else:
            pause = max(pause, settings().fetch_retry_seconds * PAUSE_FACTOR**passes)
            passes += 1
        group = groups.setdefault(_Try(passes, round(pause), put_off_at), {})
        group[label] = error.fault.detail
    return [
        Wait(
            items=tuple(item for item in chunk.items if item.label in reasons),
            start=moment + _jittered(each.pause_seconds),
            passes=each.passes,
            reasons=reasons,
            put_off_at=each.put_off_at,
        )
        for each, reasons in groups.items()
    ]


def _jittered(seconds: float) -> timedelta:
    # Rounding may have lost half a second.
    return min(timedelta(seconds=(seconds + 0.5) * random.uniform(1, JITTER)), LONGEST_PAUSE)
