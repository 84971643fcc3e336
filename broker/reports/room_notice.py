"""The notice that the fetch stage waits, since the vision stage is behind.

The fetch stage waits while there is no room in `broker.staged_bytes`, and records it here; /readyz
(`app.services`) and `snapsku doctor` warn of it. No process decides by it whether to wait.
"""

from __future__ import annotations

import redis

#: The longest wait that can be measured, in seconds; a longer one counts as this.
LONGEST_WAIT_SECONDS = 86_400

#: How long fetching counts as waiting after a check that found no room.
NOTICE_SECONDS = 30


class RoomNotice:
    """The notice that fetching waits for room, and since when; one for all fetch workers.

    Two keys: `room:latest` expires soon after the last check that found no room, and the time left
    of `room:since` tells when the wait began. So a short gap between two waits does not end the
    notice, a worker that dies leaves none, and only Redis's clock counts.

    Every method raises RedisError.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def note(self) -> bool:
        """Record that there was no room just now; return whether the wait begins with this."""
        if self._client.set("room:latest", 1, ex=NOTICE_SECONDS, get=True) is not None:
            return False
        self._client.set("room:since", 1, ex=LONGEST_WAIT_SECONDS)
        return True

    def seconds(self) -> float | None:
        """Return how many seconds fetching has waited, at most a day; None if it does not wait."""
        with self._client.pipeline(transaction=False) as pipeline:
            pipeline.exists("room:latest")
            pipeline.pttl("room:since")
            waits, left = pipeline.execute()
        if not waits:
            return None
        # -2 after a whole day; more than the expiry if Redis's clock was set back.
        seconds = LONGEST_WAIT_SECONDS - max(int(left), 0) / 1000
        return round(max(seconds, 0.0), 1)
