"""Queries and replies in Redis: they come back as they were left, and expire."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import replace

import fakeredis
import pytest

from broker.search_exchange import REPLY_SECONDS, Exchange, Query

QUERY = Query(
    picture=bytes(range(256)),
    url=None,
    generation="1f",
    category="鞋靴",
    topk=50,
    request_id="abc",
    box=(1, 2, 30, 40),
    min_similarity=0.5,
    group_by_product=True,
)


@pytest.mark.parametrize("url", [None, "https://shop.example/图.jpg"])
@pytest.mark.parametrize("category", [None, "鞋靴"])
def test_a_query_comes_out_of_redis_as_it_went_in(
    redis_client: fakeredis.FakeRedis, url: str | None, category: str | None
) -> None:
    query = replace(QUERY, picture=b"" if url else QUERY.picture, url=url, category=category)
    exchange = Exchange(redis_client)
    exchange.leave("q", query.pack(), 10)
    question = exchange.take("q")
    assert question is not None
    assert Query.unpack(question.fields) == query


def test_a_query_of_a_newer_process_is_understood() -> None:
    packed = QUERY.pack()
    words = {**json.loads(packed["words"]), "min_similarity": 0.5}
    left = {"picture": QUERY.picture, "words": json.dumps(words).encode()}
    assert Query.unpack(left) == QUERY


def test_the_picture_of_a_query_is_not_in_its_words() -> None:
    assert set(QUERY.pack()) == {"picture", "words"}
    assert "picture" not in json.loads(QUERY.pack()["words"])


def test_what_a_query_has_left_is_told_by_redis_wherever_the_clock_of_its_worker_stands(
    redis_client: fakeredis.FakeRedis,
) -> None:
    exchange = Exchange(redis_client)
    exchange.leave("q", QUERY.pack(), 10)
    redis_client.pexpire("query:q", redis_client.pttl("query:q") - 4_000)
    question = exchange.take("q")
    assert question is not None
    assert 5 < question.seconds_left <= 6


def test_no_moment_of_any_clock_is_left_with_a_query(redis_client: fakeredis.FakeRedis) -> None:
    assert "deadline" not in json.loads(QUERY.pack()["words"])


@pytest.mark.parametrize("seconds", [0, -3])
def test_a_query_without_time_left_is_gone_at_once(
    redis_client: fakeredis.FakeRedis, seconds: float
) -> None:
    exchange = Exchange(redis_client)
    exchange.leave("q", QUERY.pack(), seconds)
    time.sleep(0.01)
    assert exchange.take("q") is None


def test_a_query_is_gone_once_forgotten(redis_client: fakeredis.FakeRedis) -> None:
    exchange = Exchange(redis_client)
    exchange.leave("q", QUERY.pack(), 10)
    exchange.reply("q", {"images": []})
    exchange.forget("q")
    assert exchange.take("q") is None
    assert redis_client.keys() == []


def test_what_was_never_left_is_none(redis_client: fakeredis.FakeRedis) -> None:
    assert Exchange(redis_client).take("q") is None


def test_queries_and_replies_expire(redis_client: fakeredis.FakeRedis) -> None:
    exchange = Exchange(redis_client)
    exchange.leave("q", QUERY.pack(), 10)
    exchange.reply("q", {"images": []})
    assert sorted(redis_client.keys()) == [b"query:q", b"reply:q"]
    assert 0 < redis_client.pttl("query:q") <= 10_000
    assert 0 < redis_client.ttl("reply:q") <= REPLY_SECONDS


def test_a_reply_reaches_only_the_asker_of_its_query(redis_client: fakeredis.FakeRedis) -> None:
    exchange = Exchange(redis_client)
    exchange.reply("other", {"busy": True})
    exchange.reply("q", {"images": ["小店"], "similarity": 0.5})
    assert exchange.wait("q", 1) == {"images": ["小店"], "similarity": 0.5}
    assert exchange.wait("other", 1) == {"busy": True}


def test_a_reply_that_comes_during_a_wait_is_returned_at_once(
    redis_client: fakeredis.FakeRedis,
) -> None:
    exchange = Exchange(redis_client)
    answerer = threading.Timer(0.1, exchange.reply, ("q", {"busy": True}))
    answerer.start()
    began = time.monotonic()
    assert exchange.wait("q", 100) == {"busy": True}
    assert time.monotonic() - began < 50
    answerer.join()


def test_a_wait_ends_without_a_reply(redis_client: fakeredis.FakeRedis) -> None:
    began = time.monotonic()
    assert Exchange(redis_client).wait("q", 0.1) is None
    assert 0.05 < time.monotonic() - began < 5


@pytest.mark.parametrize("seconds", [0, -0.5])
def test_a_wait_that_has_no_time_left_asks_redis_nothing(seconds: float) -> None:
    class Refusing:
        def blpop(self, *arguments: object) -> None:
            raise AssertionError("Redis takes 0 for ever and refuses less")

    assert Exchange(Refusing()).wait("q", seconds) is None  # type: ignore[arg-type]
