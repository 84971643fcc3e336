"""Queries and replies in Redis, between a process that asks and one that answers.

Both expire: a worker that finds a query gone is too late to answer it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from typing import Any, cast

import redis
from redis.exceptions import RedisError

#: How long a reply waits for its reader.
REPLY_SECONDS = 30


@dataclass(frozen=True)
class Query:
    """What is searched for: a picture or its URL, and where to look."""

    picture: bytes  #: the file, not decoded; empty if there is a URL
    url: str | None
    generation: str
    category: str | None
    topk: int
    box: tuple[int, int, int, int] | None  #: left, top, right, bottom: searched as it is
    min_similarity: float
    group_by_product: bool
    request_id: str
    #: The model whose vectors are searched; None if the collection has none yet.
    model_id: str | None = None

    def pack(self) -> dict[str, bytes | str]:
        """Return the fields to be stored in Redis."""
        words = {name: value for name, value in asdict(self).items() if name != "picture"}
        return {"picture": self.picture, "words": json.dumps(words)}

    @classmethod
    def unpack(cls, left: Mapping[str, bytes]) -> Query:
        """Return the query from the fields that `pack` made; unknown ones are ignored."""
        words = json.loads(left["words"])
        known = {field.name for field in fields(cls)}
        given = {name: words[name] for name in words if name in known}
        given["box"] = given["box"] and tuple(given["box"])
        return cls(picture=left["picture"], **given)


@dataclass(frozen=True)
class Question:
    """The stored fields of a query."""

    fields: dict[str, bytes]
    seconds_left: float  #: how long the asker still waits


class Exchange:
    """Questions and answers between processes: the asker waits on a list that the other fills.

    A question expires when its asker stops waiting, by Redis's clock, so the clocks of the two
    processes may differ.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def leave(self, query_id: str, fields: Mapping[str, bytes | str], seconds: float) -> None:
        """Store a query for its worker; it expires after `seconds`, for which the asker waits."""
        key = f"query:{query_id}"
        mapping: dict[Any, Any] = dict(fields)
        with self._client.pipeline() as pipeline:
            pipeline.hset(key, mapping=mapping)
            pipeline.pexpire(key, max(1, round(seconds * 1000)))
            pipeline.execute()

    def take(self, query_id: str) -> Question | None:
        """Return a stored query, or None if it has expired."""
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
        """Send the answer to a query; it expires after REPLY_SECONDS."""
        key = f"reply:{query_id}"
        with self._client.pipeline() as pipeline:
            pipeline.rpush(key, json.dumps(answer))
            pipeline.expire(key, REPLY_SECONDS)
            pipeline.execute()

    def wait(self, query_id: str, seconds: float) -> dict[str, Any] | None:
        """Wait for the answer to a query; return None if none came within `seconds`."""
        if seconds <= 0:  # Redis takes 0 for "without a limit"
            return None
        found = cast(
            "tuple[bytes, bytes] | None", self._client.blpop([f"reply:{query_id}"], seconds)
        )
        if found is None:
            return None
        answer: dict[str, Any] = json.loads(found[1])
        return answer

    def forget(self, query_id: str) -> None:
        """Remove the query and the reply of a query that was answered or given up.

        A RedisError is ignored: the keys expire, and an answer that was read is not lost.
        """
        with suppress(RedisError):
            self._client.unlink(f"query:{query_id}", f"reply:{query_id}")
