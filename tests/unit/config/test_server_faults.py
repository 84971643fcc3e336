"""Why a server can't be used is told by its cause, in one line with what to do."""

from __future__ import annotations

import pymongo.errors
import pytest
import redis.exceptions

from config.server_faults import mongo_fault, redis_fault

TOPOLOGY = (
    " (configured timeouts: socketTimeoutMS: 1000.0ms), Timeout: 1.0s, Topology Description: "
    "<TopologyDescription id: 6b0d, servers: [<ServerDescription ('mongo', 27017)>]>"
)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            redis.exceptions.AuthenticationError("NOAUTH Authentication required."),
            "wants a password; write redis://:PASSWORD@HOST",
        ),
        (
            redis.exceptions.AuthenticationError("invalid username-password pair"),
            "refuses the user or the password of SNAPSKU_REDIS_URL",
        ),
        (redis.exceptions.NoPermissionError("this user has no permissions"), "its user may not"),
        (redis.exceptions.BusyLoadingError("LOADING"), "reads its data from the disk"),
        (redis.exceptions.InvalidResponse("Protocol Error: b'HTTP'"), "another program answers"),
        (redis.exceptions.TimeoutError("Timeout reading from socket"), "does not answer in time"),
        (
            redis.exceptions.ConnectionError("Connection closed by server."),
            "another program, or a Redis that wants TLS",
        ),
        (
            redis.exceptions.ConnectionError("Error 111 connecting to redis:6379. Refused."),
            "can't be reached (Error 111 connecting to redis:6379. Refused); start it, or check",
        ),
        (redis.exceptions.ResponseError("unknown command"), "unknown command; start it, or check"),
    ],
)
def test_faults_of_redis_are_told_apart(error: redis.RedisError, told: str) -> None:
    line = redis_fault(error)
    assert told in line
    assert "\n" not in line


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            pymongo.errors.OperationFailure("Authentication failed.", code=18),
            "refuses the login; check user, password and authSource",
        ),
        (pymongo.errors.OperationFailure("not authorized on snapsku", code=13), "may not do what"),
        (pymongo.errors.OperationFailure("no such command", code=59), "refuses a command (no such"),
        (pymongo.errors.ConfigurationError("unknown auth mechanism"), "check SNAPSKU_MONGO_URL"),
        (
            pymongo.errors.ServerSelectionTimeoutError(f"mongo:27017: Refused{TOPOLOGY}"),
            "can't be reached (mongo:27017: Refused); start it, or check SNAPSKU_MONGO_URL",
        ),
        (
            pymongo.errors.ServerSelectionTimeoutError(f"mongo:27017: connection closed{TOPOLOGY}"),
            "does not speak MongoDB's protocol",
        ),
    ],
)
def test_faults_of_mongodb_are_told_apart(error: pymongo.errors.PyMongoError, told: str) -> None:
    line = mongo_fault(error)
    assert told in line
    assert "\n" not in line
    assert "Topology" not in line
