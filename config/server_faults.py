"""What is wrong with a server that was named, in one line with what to do, by the error met.

The lines never hold a password: a client's own text is shown only where it tells host and cause.
"""

from __future__ import annotations

import re

from pymongo.errors import ConfigurationError, OperationFailure, PyMongoError
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    InvalidResponse,
    NoPermissionError,
    RedisError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from config.redaction import clean_text

#: Characters of a client's own text that are shown.
CHARACTERS = 160

#: Error codes of MongoDB.
UNAUTHORIZED, AUTHENTICATION_FAILED = 13, 18

#: In the texts of both clients, where a server does not speak their protocol.
CLOSED = re.compile("closed by server|connection closed|reset by peer|ProtocolError")

#: Where pymongo's text goes on with its own state.
DETAILS = re.compile(r" \(configured timeouts|, Timeout: |, Topology Description|, full error")

HANGS = "it hangs, a firewall is between, or another program listens there"
CHECK_REDIS = "start it, or check SNAPSKU_REDIS_URL"
CHECK_MONGO = "start it, or check SNAPSKU_MONGO_URL"


def redis_fault(error: RedisError) -> str:
    """Return why Redis can't be used."""
    text = _first(str(error))
    if isinstance(error, AuthenticationError):
        if re.search("NOAUTH|required", str(error), re.IGNORECASE):
            return "wants a password; write redis://:PASSWORD@HOST:6379/0 in SNAPSKU_REDIS_URL"
        return "refuses the user or the password of SNAPSKU_REDIS_URL; correct them there"
    if isinstance(error, NoPermissionError):
        return f"its user may not do all that is needed ({text}); give it +@all and ~*"
    if isinstance(error, BusyLoadingError):
        return "reads its data from the disk, and answers when it has done so; wait"
    if isinstance(error, InvalidResponse):
        return "another program answers in its place; check host and port in SNAPSKU_REDIS_URL"
    if isinstance(error, RedisTimeoutError):
        return f"does not answer in time ({text}): {HANGS}; {CHECK_REDIS}"
    if isinstance(error, RedisConnectionError):
        if CLOSED.search(str(error)):
            return (
                "closes the connection: another program, or a Redis that wants TLS (rediss://); "
                "check SNAPSKU_REDIS_URL"
            )
        return f"can't be reached ({text}); {CHECK_REDIS}"
    return f"{text}; {CHECK_REDIS}"


def mongo_fault(error: PyMongoError) -> str:
    """Return why MongoDB can't be used, without pymongo's description of its topology."""
    code = error.code if isinstance(error, OperationFailure) else None
    text = _first(str(error))
    if code == AUTHENTICATION_FAILED:
        return "refuses the login; check user, password and authSource in SNAPSKU_MONGO_URL"
    if code == UNAUTHORIZED:
        return (
            f"its user may not do what is needed ({text}); let it read, write and create indexes "
            "in both databases, see docs/own-servers.md"
        )
    if isinstance(error, OperationFailure):
        return f"refuses a command ({text}); look into its log"
    if isinstance(error, ConfigurationError):
        return f"{text}; check SNAPSKU_MONGO_URL"
    if CLOSED.search(str(error)):
        return (
            "does not speak MongoDB's protocol, or closes the connection: another program, or a "
            "MongoDB that wants TLS (tls=true); check SNAPSKU_MONGO_URL"
        )
    if text.endswith(("timed out", "No servers found yet")):
        return f"does not answer in time ({text}): {HANGS}; {CHECK_MONGO}"
    return f"can't be reached ({text}); {CHECK_MONGO}"


def _first(text: str) -> str:
    """Return the beginning of a client's text: host and cause, in one line."""
    text = DETAILS.split(text)[0]
    return clean_text(" ".join(text.split()), CHARACTERS).rstrip(". ")
