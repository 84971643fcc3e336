"""Fetched bytes that wait in Redis for the vision stage.

The fetch stage puts them and waits while there is no room; the vision stage reads and removes them,
and recovery removes those of a chunk that it gives up. Without that wait, fetching would fill Redis
during a large import, and a full Redis takes no messages either. They are files as their URLs gave
them, not decoded; each is stored under the label of its image.

All of it expires: if the vision stage finds its bytes gone, the chunk goes back to fetch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import redis

from catalog.store import Catalog
from config.settings import Settings

#: Entries that one script removes at most, so that it blocks Redis for milliseconds only.
PURGED_AT_ONCE = 1_000

#: Removes the entries of files that have expired, by Redis's own clock, which ends the files.
#: It removes before it counts: a Redis that is full refuses HINCRBY to a script that has not
#: written yet.
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

#: Returns the bytes of all files, and whether more have expired than one script removes.
_TOTAL = (
    _PURGE
    + """
return {tonumber(redis.call('HGET', KEYS[2], 'total') or 0), #labels == tonumber(ARGV[1])}
"""
)

#: Counts files: ARGV[2] is how many milliseconds they stay, then come labels, each with its
#: size.
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

#: Removes the labels from ARGV[2] on from the counts.
_DISCOUNT = _PURGE + "for n = 2, #ARGV do forget(ARGV[n]) end"


class StagedBytes:
    """Fetched files on their way from the fetch stage to the vision stage.

    Two keys beside the files count them: a sorted set of labels by the moment at which each
    file expires, and a hash of their sizes with their total. Files are counted in the
    transaction that stores them. They are removed without one, since a Redis that is full refuses
    all transactions; if a process dies in between, its entry is counted until it expires.

    Every method that asks Redis raises RedisError.
    """

    def __init__(self, client: redis.Redis, budget: int, seconds: int, catalogue: str) -> None:
        """Let fetching wait at `budget` bytes of files; 0: never.

        Chunks that look at the same time may pass the budget together, each by its own files. A
        file stays for `seconds`. `catalogue` is part of the keys, since another catalogue may
        have the same labels.
        """
        self._client = client
        self._budget = budget
        self._milliseconds = seconds * 1000
        self._catalogue = catalogue
        self._counts = (f"staged:{catalogue}:expiries", f"staged:{catalogue}:sizes")

    def total(self) -> int:
        """Return the bytes of all files that wait."""
        is_more_expired = True
        while is_more_expired:
            total, is_more_expired = self._eval(self._client, _TOTAL)
        return int(total)

    def has_room(self) -> bool:
        """Return whether fewer bytes than the budget wait."""
        return not self._budget or self.total() < self._budget

    def put(self, files: Mapping[int, bytes]) -> None:
        """Store files by label, in place of earlier ones, until they expire; count them."""
        if not files:
            return
        with self._client.pipeline() as pipeline:
            sizes: list[int] = []
            for label, data in files.items():
                pipeline.set(self._key(label), data, px=self._milliseconds)
                sizes += (label, len(data))
            self._eval(pipeline, _COUNT, self._milliseconds, *sizes)
            pipeline.execute()

    def present(self, labels: Sequence[int]) -> set[int]:
        """Return those of `labels` whose file is stored."""
        with self._client.pipeline(transaction=False) as pipeline:
            for label in labels:
                pipeline.exists(self._key(label))
            found = pipeline.execute()
        return {label for label, exists in zip(labels, found, strict=True) if exists}

    def get(self, labels: Sequence[int]) -> dict[int, bytes]:
        """Return the stored files by label; missing ones are left out."""
        if not labels:
            return {}
        found = cast("list[bytes | None]", self._client.mget([self._key(n) for n in labels]))
        return {n: data for n, data in zip(labels, found, strict=True) if data is not None}

    def remove(self, labels: Sequence[int]) -> None:
        """Remove files that are no longer needed, and count them no more."""
        if not labels:
            return
        with self._client.pipeline(transaction=False) as pipeline:
            pipeline.unlink(*(self._key(label) for label in labels))
            self._eval(pipeline, _DISCOUNT, *labels)
            pipeline.execute()

    def _eval(self, client: redis.Redis, script: str, *arguments: int) -> Any:
        # By its text, not its hash: a script that Redis forgot would cost a second round trip.
        return client.eval(script, 2, *self._counts, PURGED_AT_ONCE, *arguments)

    def _key(self, label: int) -> str:
        return f"bytes:{self._catalogue}:{label}"


def staged_bytes_of(chosen: Settings, client: redis.Redis, catalog: Catalog) -> StagedBytes:
    """Return the store of fetched files of this catalogue, as the settings limit it.

    Raises PyMongoError if this process has not read the catalogue's identity yet, and can't now.
    """
    return StagedBytes(client, chosen.staged_bytes, chosen.staged_seconds, catalog.identity.get())
