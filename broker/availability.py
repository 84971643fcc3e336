"""Errors which say that MongoDB or Redis can't be used now.

They are no fault of an image or a call: the work that met one is tried again later.
"""

from __future__ import annotations

import redis
from pymongo.errors import ConnectionFailure
from redis._parsers import BaseParser
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import MasterDownError, OutOfMemoryError, ReadOnlyError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

#: Expiry of the key that is written to see whether Redis takes writes.
PROBE_SECONDS = 60


class BrokerUnreachableError(Exception):
    """A message could not be sent because the broker can't be used now."""


class WritesStoppedError(ResponseError):
    """Redis takes no writes: its last save failed, or it has too few replicas."""


# redis-py 8.1 has no classes for these and raises what it raises for a malformed command.
BaseParser.EXCEPTION_CLASSES |= {"MISCONF": WritesStoppedError, "NOREPLICAS": WritesStoppedError}

#: Redis answers, and takes no writes: it is full, a replica, or has stopped them.
WRITES_REFUSED = (OutOfMemoryError, ReadOnlyError, MasterDownError, WritesStoppedError)

#: A server that can't be reached, or takes no writes.
UNREACHABLE = (
    ConnectionFailure,
    RedisConnectionError,
    RedisTimeoutError,
    BrokerUnreachableError,
    *WRITES_REFUSED,
)


def refusal_of_writes(client: redis.Redis) -> str | None:
    """Return why Redis takes no writes, or None if it takes them. Raises other RedisErrors.

    Writes a key, since no value that Redis reports says it as surely.
    """
    try:
        client.set("writes:probe", 1, ex=PROBE_SECONDS)
    except OutOfMemoryError:
        return "out of memory, maxmemory is reached"
    except ReadOnlyError:
        return "it is a read-only replica"
    except WRITES_REFUSED as error:
        return str(error)
    return None
