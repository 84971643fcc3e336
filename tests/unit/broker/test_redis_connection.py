"""A connection to a Redis that is away fails at once."""

from __future__ import annotations

import socket
from typing import Any

import pytest
import redis

from broker.redis_connection import connect_redis


def test_a_redis_that_is_not_there_is_told_without_another_try(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tries: list[object] = []
    look_up = socket.getaddrinfo

    def counted(host: str, *arguments: Any) -> Any:
        tries.append(host)
        return look_up(host, *arguments)

    monkeypatch.setattr(socket, "getaddrinfo", counted)
    with (
        connect_redis("redis://127.0.0.1:1/0", 0.5, 0.5) as client,
        pytest.raises(redis.ConnectionError, match="refused"),
    ):
        client.ping()
    assert len(tries) == 1
