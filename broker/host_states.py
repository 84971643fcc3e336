"""How hosts answer from which pictures are fetched, shared by all fetch workers, in Redis.

A host that failed several times in a row is left alone for a while; then one download tries it, and
each such try that fails makes the pause longer (a circuit breaker, with Redis in place of a
process's memory). A host that asks for a pause, by Retry-After, gets it at once. A host that
answers has no state: keys exist for hosts with faults alone, expire, and are bounded in number.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import cast

import redis

#: A host without a new fault is forgotten after this.
KEPT_SECONDS = 600

#: Hosts whose state is kept; beyond it, those with the oldest faults are forgotten.
HOSTS_LIMIT = 10_000

#: How many times longer each pause of a host is than the one before.
PAUSE_FACTOR = 4

#: The longest pause of a host that did not ask for one, in seconds.
LONGEST_PAUSE_SECONDS = 60.0

#: The longest wait for the outcome of another download's try, in seconds.
TRY_WAIT_SECONDS = 2.0

_NOW = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
"""

#: ARGV: how many ms a try may take, and how many ms others wait for its outcome at most.
_ASK = (
    _NOW
    + """
local state = redis.call('HMGET', KEYS[1], 'ends', 'kind', 'reason', 'try_ends', 'since')
if not state[1] then return false end
local age = now - tonumber(state[5])
if tonumber(state[1]) > now then
  return {state[2], tonumber(state[1]) - now, state[3], age}
end
if state[4] and tonumber(state[4]) > now then
  return {'tried', math.min(tonumber(state[4]) - now, tonumber(ARGV[2])), state[3], age}
end
redis.call('HSET', KEYS[1], 'try_ends', now + ARGV[1])
return false
"""
)

#: ARGV: the reason, the ms that the host asks for (below 0: none), the faults in a row that make a
#: pause, the ms of the first pause, the factor, the ms of the longest, the ms for which the state
#: is kept, the number of hosts.
_FAIL = (
    _NOW
    + """
local asked, first, factor = tonumber(ARGV[2]), tonumber(ARGV[4]), tonumber(ARGV[5])
local kept = tonumber(ARGV[7])
local faults = redis.call('HINCRBY', KEYS[1], 'faults', 1)
local state = redis.call('HMGET', KEYS[1], 'ends', 'pause')
local ends, pause = tonumber(state[1] or 0), tonumber(state[2] or 0)
redis.call('HSET', KEYS[1], 'reason', ARGV[1])
redis.call('HSETNX', KEYS[1], 'since', now)
redis.call('HDEL', KEYS[1], 'try_ends')
if asked >= 0 then
  redis.call('HSET', KEYS[1], 'kind', 'asked for', 'ends', math.max(ends, now + asked))
elseif faults >= tonumber(ARGV[3]) and ends <= now then
  pause = math.min(math.max(first, pause * factor), math.max(first, tonumber(ARGV[6])))
  redis.call('HSET', KEYS[1], 'kind', 'down', 'ends', now + pause, 'pause', pause)
end
redis.call('PEXPIRE', KEYS[1], kept + math.max(asked, 0))
redis.call('ZADD', KEYS[2], now, KEYS[1])
redis.call('PEXPIRE', KEYS[2], 2 * kept)
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now - 2 * kept)
local over = redis.call('ZCARD', KEYS[2]) - tonumber(ARGV[8])
if over > 0 then
  for _, key in ipairs(redis.call('ZRANGE', KEYS[2], 0, over - 1)) do redis.call('DEL', key) end
  redis.call('ZREMRANGEBYRANK', KEYS[2], 0, over - 1)
end
"""
)


class PauseKind(StrEnum):
    """Why a host is not to be asked now."""

    DOWN = "down"  #: it failed several times in a row
    ASKED_FOR = "asked for"  #: it answers, and asked for this pause
    TRIED = "tried"  #: another download is just trying whether it answers again


@dataclass(frozen=True)
class HostPause:
    """How long a host is to be left alone, and why."""

    kind: PauseKind
    seconds: float
    reason: str  #: what a client may be told of the last fault
    age_seconds: float  #: how long the host has had faults, without an answer in between


class HostStates:
    """The states of hosts, each named by host and port. Every method raises RedisError."""

    def __init__(
        self, client: redis.Redis, *, faults: int, pause_seconds: float, try_seconds: float
    ) -> None:
        """Leave a host alone after `faults` in a row, for `pause_seconds` at first.

        A download takes `try_seconds` at most, after which one that tries a host counts as dead.
        """
        self._client = client
        self._faults = faults
        self._pause = _milliseconds(pause_seconds)
        self._try = _milliseconds(try_seconds)

    def pause(self, host: str) -> HostPause | None:
        """Return for how long `host` is to be left alone, or None if it is to be asked now.

        After a pause that is so for one caller, until it tells the outcome.
        """
        found = cast(
            "tuple[bytes, int, bytes, int] | None",
            self._client.eval(_ASK, 1, _key(host), self._try, _milliseconds(TRY_WAIT_SECONDS)),
        )
        if found is None:
            return None
        kind, left, reason, age = found
        return HostPause(PauseKind(kind.decode()), left / 1000, reason.decode(), age / 1000)

    def answered(self, host: str) -> None:
        """Forget the faults of a host."""
        self._client.unlink(_key(host))

    def failed(self, host: str, reason: str, asked_seconds: float | None = None) -> None:
        """Count a fault of a host, which asked for a pause of `asked_seconds`; None or 0: none."""
        self._client.eval(
            _FAIL,
            2,
            _key(host),
            "hosts",
            reason,
            _milliseconds(asked_seconds or -0.001),
            self._faults,
            self._pause,
            PAUSE_FACTOR,
            _milliseconds(LONGEST_PAUSE_SECONDS),
            _milliseconds(KEPT_SECONDS),
            HOSTS_LIMIT,
        )


def _key(host: str) -> str:
    return f"host:{host}"


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
