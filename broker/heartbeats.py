"""Heartbeats of the queues: when a message of each was worked on last."""

from __future__ import annotations

from collections.abc import Sequence

import redis

#: How long it is remembered when a queue was consumed last.
REMEMBERED_SECONDS = 86_400


class Consumption:
    """Which queues were worked on lately: the proof that somebody consumes them."""

    def __init__(self, client: redis.Redis, stalled_seconds: float) -> None:
        """`stalled_seconds` is how long a queue counts as consumed after work on it."""
        self._client = client
        self._stalled_seconds = stalled_seconds

    def note(self, queue: str) -> None:
        """Note that a message of the queue was worked on just now."""
        self._client.set(f"consumed:{queue}", 1, ex=REMEMBERED_SECONDS)

    def ages(self, queues: Sequence[str]) -> dict[str, float | None]:
        """Return the seconds since each queue was consumed; None where that was never, or long ago.

        By Redis's clock alone, so the clocks of the machines need not agree.
        """
        with self._client.pipeline(transaction=False) as pipeline:
            for queue in queues:
                pipeline.pttl(f"consumed:{queue}")
            left = pipeline.execute()
        return {
            # More is left than was ever given where Redis's clock was set back: that says nothing.
            queue: round(REMEMBERED_SECONDS - rest / 1000, 1)
            if 0 <= rest <= REMEMBERED_SECONDS * 1000
            else None
            for queue, rest in zip(queues, left, strict=True)
        }

    def is_stalled(self, age: float | None) -> bool:
        """Return whether a queue of this age has nobody who consumes it."""
        return age is None or age > self._stalled_seconds
