"""How often a user may call, per second and per day; all processes count together in Redis."""

from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass

import structlog
from limits import RateLimitItemPerDay, RateLimitItemPerSecond
from limits.storage import RedisStorage
from limits.strategies import FixedWindowRateLimiter, MovingWindowRateLimiter
from redis import Redis
from redis.exceptions import RedisError

from app.http.envelope import UNLIMITED, SystemCode
from catalog.database.database_time import DATABASE_TIME

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Charge:
    """The outcome of counting a call."""

    remaining: int  #: calls left of the day, UNLIMITED if there is no quota or it is unknown
    refusal: SystemCode | None = None
    retry_after_seconds: int = 0


class SharedTimeStorage(RedisStorage):
    """The counts in Redis, with a moving second by the database's time.

    The library would write and compare the wall clock of each host.
    """

    def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Count `amount` calls unless that exceeds `limit` in `expiry` seconds.

        Return whether they were counted.
        """
        seconds = DATABASE_TIME.microseconds() / 1_000_000
        return bool(
            self.lua_acquire_moving_window(
                [self.prefixed_key(key)], [seconds, limit, expiry, amount]
            )
        )


class Quotas:
    """Counts calls of users against their quotas.

    A day begins with a user's first call and ends 24 hours later; a second is any second.
    """

    def __init__(self, client: Redis) -> None:
        # With a pool, only the scheme of the address counts.
        storage = SharedTimeStorage(
            "redis://", connection_pool=client.connection_pool, key_prefix="quota"
        )
        self._seconds = MovingWindowRateLimiter(storage)
        self._days = FixedWindowRateLimiter(storage)
        self._lock = threading.Lock()
        self._unchecked = 0

    def charge(self, user: str, per_second: int, per_day: int) -> Charge:
        """Count a call and return the outcome; a limit of 0 means none.

        A call over the limit of a second does not count for the day. If Redis can't be reached, the
        call passes, and is counted as unchecked.
        """
        try:
            return self._charge(user, per_second, per_day)
        except RedisError as error:
            with self._lock:
                self._unchecked += 1
            log.warning("quota not checked", user=user, fault=repr(error))
            return Charge(UNLIMITED)

    @property
    def unchecked(self) -> int:
        """Number of calls that this process let through unchecked."""
        return self._unchecked

    def _charge(self, user: str, per_second: int, per_day: int) -> Charge:
        day = RateLimitItemPerDay(per_day) if per_day else None
        if per_second and not self._seconds.hit(RateLimitItemPerSecond(per_second), user):
            remaining = UNLIMITED
            if day is not None:
                remaining = self._days.get_window_stats(day, user).remaining
            return Charge(remaining, SystemCode.OVER_QPS, 1)
        if day is None:
            return Charge(UNLIMITED)
        is_within = self._days.hit(day, user)
        left = self._days.get_window_stats(day, user)
        if is_within:
            return Charge(left.remaining)
        wait = max(1, math.ceil(left.reset_time - time.time()))
        return Charge(0, SystemCode.QUOTA_USED_UP, wait)
