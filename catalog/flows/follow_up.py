"""What follows the write that decides an operation: a fault in it is no longer answered.

A client that is told to come back later, and does, would find its call done already. What is
left undone has a reminder in a row, and the sweep does it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import structlog
from pymongo.errors import PyMongoError

log = structlog.get_logger(__name__)


@contextmanager
def follow_up(operation: str) -> Iterator[None]:
    """Log any fault of what is done inside instead of raising it."""
    try:
        yield
    except PyMongoError as error:
        log.warning("the sweep ends what was decided", operation=operation, fault=repr(error))
    except Exception:
        log.exception("operation failed after it was decided", operation=operation)
