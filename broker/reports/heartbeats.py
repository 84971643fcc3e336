"""Heartbeats of the queues: when a message of each was last worked on.

Each task writes the heartbeat of its queue as it begins (`workers.support.probe`), also the probes
that beat sends to idle queues. /readyz and `snapsku doctor` read them, and `snapsku restore`, which
needs stopped workers. A heartbeat that is lost stops no work.
"""

from __future__ import annotations

from collections.abc import Sequence

import redis

#: Expiry of a heartbeat: a queue that was consumed longer ago counts as never consumed.
HEARTBEAT_SECONDS = 86_400


class Consumption:
    """When each queue was last worked on: the proof that a worker consumes it."""

    def __init__(self, client: redis.Redis, stalled_seconds: float) -> None:
        """Count a queue as consumed for `stalled_seconds` after work on it."""
        self._client = client
        self._stalled_seconds = stalled_seconds

    def note(self, queue: str) -> None:
        """Record that a message of the queue is worked on now."""
        self._client.set(f"consumed:{queue}", 1, ex=HEARTBEAT_SECONDS)

    def ages(self, queues: Sequence[str]) -> dict[str, float | None]:
        """Return the seconds since each queue was consumed, None if never or over a day ago.

        Measured by Redis's clock alone, so the clocks of the machines need not agree.
        """
        with self._client.pipeline(transaction=False) as pipeline:
            for queue in queues:
                pipeline.pttl(f"consumed:{queue}")
            left = pipeline.execute()
        return {
            # More than the whole expiry is left if Redis's clock was set back: the age is unknown.
            queue: round(HEARTBEAT_SECONDS - rest / 1000, 1)
            if 0 <= rest <= HEARTBEAT_SECONDS * 1000
            else None
            for queue, rest in zip(queues, left, strict=True)
        }

    def is_stalled(self, age: float | None) -> bool:
        """Return whether a queue with this age, as `ages` returns it, counts as not consumed."""
        return age is None or age > self._stalled_seconds
