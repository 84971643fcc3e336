"""What waits in Redis for a short time: fetched bytes, queries, and replies to them.

Everything here has an expiry; whoever finds it gone knows how to get it again,
or answers that it is too late.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any, cast

import redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

#: How long a reply waits for its reader.
REPLY_SECONDS = 30

#: How long it is remembered when a queue was consumed last.
REMEMBERED_SECONDS = 86_400

#: How long it is remembered that an index process was refused, unless it starts after all.
REFUSED_SECONDS = 600

#: How long fetching counts as waiting for room after a look that found none.
ROOM_NOTICE_SECONDS = 30


def connect_redis(url: str, connect_seconds: float, read_seconds: float) -> redis.Redis:
    """Give a client that fails at once where Redis can't be reached.

    `read_seconds` must be more than the longest wait for a reply.
    """
    return redis.Redis.from_url(
        url,
        socket_connect_timeout=connect_seconds,
        socket_timeout=read_seconds,
        retry=Retry(NoBackoff(), 0),
        health_check_interval=15,
    )


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
        """Tell whether fewer bytes than the budget wait."""
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


@dataclass(frozen=True)
class Question:
    """What was left of a query."""

    fields: dict[str, bytes]
    seconds_left: float  #: for so long its asker still waits


class Exchange:
    """Questions and answers between processes: the asker waits on a list that the other fills.

    How long an asker waits is the expiry of what it left, by Redis's clock: the clocks of both
    processes may be apart.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def leave(self, query_id: str, fields: Mapping[str, bytes | str], seconds: float) -> None:
        """Leave what a query is about where its worker finds it, for as long as we wait."""
        key = f"query:{query_id}"
        mapping: dict[Any, Any] = dict(fields)
        with self._client.pipeline() as pipeline:
            pipeline.hset(key, mapping=mapping)
            pipeline.pexpire(key, max(1, round(seconds * 1000)))
            pipeline.execute()

    def take(self, query_id: str) -> Question | None:
        """Return what was left of a query, None if it is too late."""
        key = f"query:{query_id}"
        with self._client.pipeline() as pipeline:
            pipeline.hgetall(key)
            pipeline.pttl(key)
            found, milliseconds = pipeline.execute()
        if not found:
            return None
        fields = {name.decode(): value for name, value in found.items()}
        return Question(fields, milliseconds / 1000)

    def reply(self, query_id: str, answer: Mapping[str, Any]) -> None:
        """Answer a query."""
        key = f"reply:{query_id}"
        with self._client.pipeline() as pipeline:
            pipeline.rpush(key, json.dumps(answer))
            pipeline.expire(key, REPLY_SECONDS)
            pipeline.execute()

    def wait(self, query_id: str, seconds: float) -> dict[str, Any] | None:
        """Wait for the answer to a query; None where none came in time."""
        if seconds <= 0:  # Redis would take it for "for ever"
            return None
        found = cast(
            "tuple[bytes, bytes] | None", self._client.blpop([f"reply:{query_id}"], seconds)
        )
        if found is None:
            return None
        answer: dict[str, Any] = json.loads(found[1])
        return answer

    def forget(self, query_id: str) -> None:
        """Remove what is left of a query that was answered or given up.

        What can't be removed expires: an answer that was there is not lost by it.
        """
        with suppress(RedisError):
            self._client.unlink(f"query:{query_id}", f"reply:{query_id}")


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
        """Give the seconds since each queue was consumed; None where that was never, or long ago.

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
        """Tell whether a queue of this age has nobody who consumes it."""
        return age is None or age > self._stalled_seconds


@dataclass(frozen=True, kw_only=True)
class IndexReport:
    """How the index is, by the process that keeps it."""

    process: str  #: its host and process id
    is_complete: bool  #: whether all its sets are known; if not, it has yet to read the rows
    sets: int
    sets_not_ready: int  #: they are loaded or built, and not searched yet
    snapshots_lost: int  #: of sets or single shards, lately; they are built from the rows
    sets_not_saved: int  #: their last snapshot failed; the one before is still good
    save_fault: str  #: why the last of these failed; empty where there is none
    epoch: int  #: of its lease; each owner has a higher one than the owner before
    bad_vectors: int = 0  #: images that are not searched, since their vector is no vector
    bad_images: str = ""  #: some of them, each as collection/image id


class IndexReports:
    """What the owner of the index says of itself, what standbys say, and one that was refused."""

    def __init__(self, client: redis.Redis, stalled_seconds: float) -> None:
        """Let each report be good for `stalled_seconds`."""
        self._client = client
        self._good_seconds = stalled_seconds
        self._milliseconds = round(stalled_seconds * 1000)

    def publish(self, report: IndexReport) -> None:
        """Say how the index is, and that its process is no standby."""
        with self._client.pipeline() as pipeline:
            pipeline.set("index:report", json.dumps(asdict(report)), px=self._milliseconds)
            pipeline.zrem("index:standbys", report.process)
            pipeline.execute()

    def stand_by(self, process: str) -> None:
        """Say that a process waits to own the index; to be repeated while it does."""
        seconds = self._seconds()
        with self._client.pipeline() as pipeline:
            pipeline.zadd("index:standbys", {process: seconds})
            pipeline.zremrangebyscore("index:standbys", "-inf", seconds - self._good_seconds)
            pipeline.pexpire("index:standbys", self._milliseconds)
            pipeline.execute()

    def standbys(self) -> list[str]:
        """Return the processes that wait to own the index, in the order of their names."""
        least = self._seconds() - self._good_seconds
        found = cast("list[bytes]", self._client.zrangebyscore("index:standbys", least, "+inf"))
        return sorted(process.decode() for process in found)

    def _seconds(self) -> float:
        # By Redis's clock alone, so the clocks of the machines need not agree.
        seconds, microseconds = self._client.time()
        return seconds + microseconds / 1e6

    def latest(self) -> tuple[IndexReport | None, str]:
        """Give the report that is good, if any, and which process was refused, if one was."""
        report, refused = cast(
            "list[bytes | None]", self._client.mget("index:report", "index:refused")
        )
        return _report(report), (refused or b"").decode()

    def refuse(self, process: str, reason: str) -> None:
        """Say that a process may not keep the index."""
        self._client.set("index:refused", f"{process}: {reason}", ex=REFUSED_SECONDS)

    def accept(self) -> None:
        """Say that no process was refused that is not at work by now."""
        self._client.unlink("index:refused")


def _report(data: bytes | None) -> IndexReport | None:
    try:
        return None if data is None else IndexReport(**json.loads(data))
    except TypeError:  # of another release
        return None
