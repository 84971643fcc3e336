"""A nonce on a real Redis: of many who come with it at once, one is let in."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import redis

from identity.nonces import KEPT_SECONDS, Nonces

CALLERS = 50


def test_of_fifty_with_the_same_nonce_at_once_one_is_the_first(redis_client: redis.Redis) -> None:
    nonces = Nonces(redis_client)
    barrier = threading.Barrier(CALLERS)

    def take(_: int) -> bool:
        barrier.wait(10)
        return nonces.take("AK", b"n")

    with ThreadPoolExecutor(CALLERS) as pool:
        taken = list(pool.map(take, range(CALLERS)))
    assert taken.count(True) == 1


def test_a_nonce_is_of_one_key_and_goes_by_itself(redis_client: redis.Redis) -> None:
    nonces = Nonces(redis_client)
    assert nonces.take("AK", b"n")
    assert nonces.take("AL", b"n")
    assert nonces.take("AK", b"m")
    assert not nonces.take("AK", b"n")
    names = list(redis_client.scan_iter("nonce:*"))
    assert len(names) == 3
    assert all(KEPT_SECONDS - 10 < redis_client.ttl(name) <= KEPT_SECONDS for name in names)
