"""The notice that fetching waits for room: it has the age of the wait, and ends soon after it."""

from __future__ import annotations

import pytest
import redis

from broker.reports.room_notice import LONGEST_WAIT_SECONDS, NOTICE_SECONDS, RoomNotice


def test_a_wait_for_room_is_told_with_its_age_and_forgotten_soon_after_its_last_look(
    redis_client: redis.Redis,
) -> None:
    notice = RoomNotice(redis_client)
    assert notice.seconds() is None
    assert notice.note()
    assert not notice.note()
    redis_client.pexpire("room:since", redis_client.pttl("room:since") - 3_600_000)
    assert notice.seconds() == pytest.approx(3600, abs=2)
    redis_client.delete("room:latest")  # as its expiry does
    assert notice.seconds() is None
    assert notice.note()
    assert notice.seconds() == pytest.approx(0, abs=2)


def test_a_wait_of_more_than_a_day_is_told_as_a_day(redis_client: redis.Redis) -> None:
    notice = RoomNotice(redis_client)
    notice.note()
    redis_client.delete("room:since")
    assert notice.seconds() == LONGEST_WAIT_SECONDS


def test_every_key_of_a_wait_for_room_expires(redis_client: redis.Redis) -> None:
    RoomNotice(redis_client).note()
    assert 0 < redis_client.ttl("room:latest") <= NOTICE_SECONDS
    assert 0 < redis_client.ttl("room:since") <= LONGEST_WAIT_SECONDS
