"""Shorten the wait of a pool's child for its parent at a stop.

A child that was told to end waits until its parent has read the result of its last task. Now and
then a parent that is stopping never reads it, and the child waits for all of billiard's 30 seconds
(`Worker._ensure_messages_consumed` of billiard 4.x; seen in one of 24 stops under load). No message
of ours has a result that way: the stage stored it before it returned, and a message that was not
acknowledged comes again and finds its work done.

For billiard 4.3; no issue upstream is known to us. May go when a parent that stops tells its
children so.
"""

from __future__ import annotations

from billiard import pool

#: How long a child that ends waits for its last result to be read.
RESULT_READ_SECONDS = 5.0


def install() -> None:
    """Let the children of this worker's pool wait no longer than RESULT_READ_SECONDS."""
    pool.GUARANTEE_MESSAGE_CONSUMPTION_RETRY_LIMIT = round(
        RESULT_READ_SECONDS / pool.GUARANTEE_MESSAGE_CONSUMPTION_RETRY_INTERVAL
    )
