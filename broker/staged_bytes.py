"""Fetched bytes that wait in Redis for the vision stage, and the notice that there is no room.

All of it expires: a stage that finds its bytes gone fetches them again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import redis

from catalog.store import Catalog
from config.settings import Settings

#: How long it is remembered when a queue was consumed last.
REMEMBERED_SECONDS = 86_400


#: How long fetching counts as waiting for room after a look that found none.
ROOM_NOTICE_SECONDS = 30


#: Entries that one script forgets at most, so that others wait for milliseconds only.
PURGED_AT_ONCE = 1_000


#: Removes before it counts: a Redis that is full refuses HINCRBY to a script that has not written
#: yet. Forgets what has expired, and tells the sum of the others and whether more has expired.
#: Redis's own clock ends the pictures, so it tells which are gone.
_PURGE = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local labels = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[1])
local function forget(label)
  local size = redis.call('HGET', KEYS[2], label)
  redis.call('ZREM', KEYS[1], label)
  if size then
    redis.call('HDEL', KEYS[2], label)
    redis.call('HINCRBY', KEYS[2], 'total', -size)
  end
end
for _, label in ipairs(labels) do forget(label) end
"""


_TOTAL = (
    _PURGE
    + """
return {tonumber(redis.call('HGET', KEYS[2], 'total') or 0), #labels == tonumber(ARGV[1])}
"""
)


#: Counts pictures: ARGV[2] is how long they stay, then come labels, each with its size.
_COUNT = (
    _PURGE
    + """
local stay = tonumber(ARGV[2])
for n = 3, #ARGV, 2 do
  forget(ARGV[n])
  redis.call('ZADD', KEYS[1], now + stay, ARGV[n])
  redis.call('HSET', KEYS[2], ARGV[n], ARGV[n + 1])
  redis.call('HINCRBY', KEYS[2], 'total', ARGV[n + 1])
end
for _, key in ipairs(KEYS) do
  if redis.call('PTTL', key) < 2 * stay then redis.call('PEXPIRE', key, 2 * stay) end
end
"""
)


#: Counts the labels from ARGV[2] on no more.
_DISCOUNT = _PURGE + "for n = 2, #ARGV do forget(ARGV[n]) end"


class StagedBytes:
    """Fetched pictures on their way from the fetch stage to the vision stage.

    Two keys beside the pictures count them: a sorted set of labels by the moment at which
    each picture expires, and a hash of their sizes with their total. Pictures are counted in
    the transaction that keeps them. They are removed without one, since a Redis that is full
    refuses all transactions; what a process that dies in between leaves counted expires.
    """

    def __init__(self, client: redis.Redis, budget: int, seconds: int, catalogue: str) -> None:
        """Let `budget` bytes of pictures stop fetching; 0: never.

        `catalogue` is in the keys: another one may have given the same labels.
        """
        self._client = client
        self._budget = budget
        self._milliseconds = seconds * 1000
        self._catalogue = catalogue
        self._counts = (f"staged:{catalogue}:expiries", f"staged:{catalogue}:sizes")

    def total(self) -> int:
        """Return how many bytes wait."""
        is_more_expired = True
        while is_more_expired:
            total, is_more_expired = self._eval(self._client, _TOTAL)
        return int(total)

    def has_room(self) -> bool:
        """Return whether fewer bytes than the budget wait."""
        return not self._budget or self.total() < self._budget

    def put(self, pictures: Mapping[int, bytes]) -> None:
        """Keep pictures under their labels until they expire."""
        if not pictures:
            return
        with self._client.pipeline() as pipeline:
            sizes: list[int] = []
            for label, data in pictures.items():
                pipeline.set(self._key(label), data, px=self._milliseconds)
                sizes += (label, len(data))
            self._eval(pipeline, _COUNT, self._milliseconds, *sizes)
            pipeline.execute()

    def present(self, labels: Sequence[int]) -> set[int]:
        """Return those of `labels` whose picture waits."""
        with self._client.pipeline(transaction=False) as pipeline:
            for label in labels:
                pipeline.exists(self._key(label))
            found = pipeline.execute()
        return {label for label, exists in zip(labels, found, strict=True) if exists}

    def get(self, labels: Sequence[int]) -> dict[int, bytes]:
        """Return the pictures that wait, by label."""
        if not labels:
            return {}
        found = cast("list[bytes | None]", self._client.mget([self._key(n) for n in labels]))
        return {n: data for n, data in zip(labels, found, strict=True) if data is not None}

    def remove(self, labels: Sequence[int]) -> None:
        """Remove pictures that are no longer needed."""
        if not labels:
            return
        with self._client.pipeline(transaction=False) as pipeline:
            pipeline.unlink(*(self._key(label) for label in labels))
            self._eval(pipeline, _DISCOUNT, *labels)
            pipeline.execute()

    def _eval(self, client: redis.Redis, script: str, *arguments: int) -> Any:
        # With its text, not its hash: a script that Redis forgot would cost a second round trip.
        return client.eval(script, 2, *self._counts, PURGED_AT_ONCE, *arguments)

    def _key(self, label: int) -> str:
        return f"bytes:{self._catalogue}:{label}"


class RoomNotice:
    """The notice that fetching waits for room, and since when.

    Two keys: one that goes soon after the last look that found no room, and one whose time
    left tells the beginning. So a short gap between two waits does not end the notice, a
    worker that dies leaves none, and no clock but that of Redis counts.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def note(self) -> bool:
        """Note that there was no room just now; True if the wait begins with that."""
        if self._client.set("room:latest", 1, ex=ROOM_NOTICE_SECONDS, get=True) is not None:
            return False
        self._client.set("room:since", 1, ex=REMEMBERED_SECONDS)
        return True

    def seconds(self) -> float | None:
        """Return for how many seconds fetching has waited, at most a day; None: it does not."""
        with self._client.pipeline(transaction=False) as pipeline:
            pipeline.exists("room:latest")
            pipeline.pttl("room:since")
            waits, left = pipeline.execute()
        if not waits:
            return None
        # -2 after a whole day; more than was given where Redis's clock was set back.
        seconds = REMEMBERED_SECONDS - max(int(left), 0) / 1000
        return round(max(seconds, 0.0), 1)


def staged_bytes_of(chosen: Settings, client: redis.Redis, catalog: Catalog) -> StagedBytes:
    """Return the fetched pictures that wait in Redis for the vision stage.

    Raises PyMongoError where this process never read which catalogue it is.
    """
    return StagedBytes(client, chosen.staged_bytes, chosen.staged_seconds, catalog.identity.get())
