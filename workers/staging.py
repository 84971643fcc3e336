"""What waits in Redis for a short time: fetched bytes, queries, and replies to them.

Everything here has an expiry; whoever finds it gone knows how to get it again,
or answers that it is too late.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

#: How long a query, its vectors and its reply wait for their reader.
QUERY_SECONDS = 30

#: How long a queue counts as consumed after one of its messages was worked on, unless told.
STALLED_SECONDS = 30.0

#: How long it is remembered when a queue was consumed last.
REMEMBERED_SECONDS = 86_400


#: How long it is remembered that an index process was refused, unless it starts after all.
REFUSED_SECONDS = 600


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


class StagedBytes:
    """Fetched pictures on their way from the fetch stage to the vision stage."""

    def __init__(self, client: redis.Redis, budget: int, seconds: int, catalogue: str) -> None:
        """`budget` is the Redis memory in bytes above which nothing more is fetched; 0: none.

        `catalogue` is in the keys: another one may have given the same labels.
        """
        self._client = client
        self._budget = budget
        self._seconds = seconds
        self._catalogue = catalogue

    def has_room(self) -> bool:
        """Tell whether Redis holds less than the budget."""
        memory = self._client.info("memory")
        return not self._budget or memory["used_memory"] < self._budget

    def put(self, pictures: Mapping[int, bytes]) -> None:
        """Keep pictures under their labels until they expire."""
        with self._client.pipeline(transaction=False) as pipeline:
            for label, data in pictures.items():
                pipeline.set(self._key(label), data, ex=self._seconds)
            pipeline.execute()

    def present(self, labels: Sequence[int]) -> set[int]:
        """Give those among `labels` whose picture waits."""
        with self._client.pipeline(transaction=False) as pipeline:
            for label in labels:
                pipeline.exists(self._key(label))
            found = pipeline.execute()
        return {label for label, exists in zip(labels, found, strict=True) if exists}

    def get(self, labels: Sequence[int]) -> dict[int, bytes]:
        """Give the pictures that wait, by label."""
        if not labels:
            return {}
        found = cast("list[bytes | None]", self._client.mget([self._key(n) for n in labels]))
        return {n: data for n, data in zip(labels, found, strict=True) if data is not None}

    def remove(self, labels: Sequence[int]) -> None:
        """Forget pictures that nobody needs any more."""
        if labels:
            self._client.unlink(*(self._key(label) for label in labels))

    def _key(self, label: int) -> str:
        return f"bytes:{self._catalogue}:{label}"


class Exchange:
    """Questions and answers between processes: the asker waits on a list that the other fills."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def leave(self, query_id: str, fields: Mapping[str, bytes | str]) -> None:
        """Leave what a query is about where its worker finds it."""
        key = f"query:{query_id}"
        mapping: dict[Any, Any] = dict(fields)
        with self._client.pipeline() as pipeline:
            pipeline.hset(key, mapping=mapping)
            pipeline.expire(key, QUERY_SECONDS)
            pipeline.execute()

    def take(self, query_id: str) -> dict[str, bytes]:
        """Give what was left of a query; empty where it is too late."""
        found = cast("dict[bytes, bytes]", self._client.hgetall(f"query:{query_id}"))
        return {name.decode(): value for name, value in found.items()}

    def reply(self, query_id: str, answer: Mapping[str, Any]) -> None:
        """Answer a query."""
        key = f"reply:{query_id}"
        with self._client.pipeline() as pipeline:
            pipeline.rpush(key, json.dumps(answer))
            pipeline.expire(key, QUERY_SECONDS)
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
        """Remove what is left of a query that was answered or given up."""
        self._client.unlink(f"query:{query_id}", f"reply:{query_id}")


class Consumption:
    """Which queues were worked on lately: the proof that somebody consumes them."""

    def __init__(self, client: redis.Redis, stalled_seconds: float = STALLED_SECONDS) -> None:
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

    def stalled(self, queues: Sequence[str]) -> list[str]:
        """Give the queues that nobody worked on lately."""
        return [queue for queue, age in self.ages(queues).items() if self.is_stalled(age)]


@dataclass(frozen=True)
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


class IndexReports:
    """What the owner of the index says of itself, what standbys say, and one that was refused."""

    def __init__(self, client: redis.Redis, stalled_seconds: float = STALLED_SECONDS) -> None:
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
