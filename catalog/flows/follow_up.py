"""Work after the write that decides an operation: its faults are not reported to the client.

A client that was told to retry would find its call done already. Work that is left undone has a
reminder in a row, and the sweep does it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import structlog
from pymongo.errors import PyMongoError

log = structlog.get_logger(__name__)


@contextmanager
def follow_up(operation: str) -> Iterator[None]:
    """Log any exception of the block instead of raising it."""
    try:
        yield
    except PyMongoError as error:
        log.warning(
            "operation interrupted, the sweep completes it", operation=operation, fault=repr(error)
        )
    except Exception:
        log.exception("operation failed after it was decided", operation=operation)
