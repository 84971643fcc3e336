"""Check the URLs of Redis and MongoDB before anything connects.

The messages never repeat the URL, which may contain a password.
"""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, SecretStr

#: In a user name or a password these have a meaning of their own.
ENCODED = "a user or password with one of : / ? # [ ] @ % must have it percent-encoded"


def check_redis_url(url: str) -> None:
    """Raise ValueError, with one line, if `url` is no URL of a Redis server; "" is none."""
    if not url:
        return
    # Not unix://, for which Celery has no transport.
    if not url.startswith(("redis://", "rediss://")):
        raise ValueError("must be a URL such as redis://HOST:6379/0")
    from redis import ConnectionPool

    try:
        pool = ConnectionPool.from_url(url)
        parts = urlsplit(url)
    except ValueError as error:
        raise ValueError(
            f"can't be read as a URL such as redis://HOST:6379/0; {ENCODED}"
        ) from error
    if not parts.hostname:
        raise ValueError(f"names no host; write redis://HOST:6379/0; {ENCODED}")
    if not (parts.path.strip("/") or "0").isdecimal():
        raise ValueError("must end with the number of a database, such as redis://HOST:6379/0")
    try:
        pool.connection_class(**pool.connection_kwargs)  # connects at its first use
    except TypeError as error:
        raise ValueError("has an option after the ? that is not known; leave it out") from error


def check_mongo_url(url: str) -> None:
    """Raise ValueError, with one line, if `url` is no URL of a MongoDB server; "" is none."""
    if not url:
        return
    if url.startswith("mongodb+srv://"):
        # pymongo would look the servers up, which is not for a check.
        if not urlsplit(url).hostname:
            raise ValueError(f"names no host; write mongodb+srv://HOST/; {ENCODED}")
        return
    if not url.startswith("mongodb://"):
        raise ValueError("must be a URL such as mongodb://HOST:27017/")
    from pymongo.errors import PyMongoError
    from pymongo.uri_parser import parse_uri

    try:
        parse_uri(url, validate=True, warn=True)
    except (PyMongoError, ValueError) as error:
        raise ValueError(
            f"can't be read as a URL such as mongodb://HOST:27017/; {ENCODED}"
        ) from error


def _redis_url(value: SecretStr) -> SecretStr:
    check_redis_url(value.get_secret_value())
    return value


def _mongo_url(value: SecretStr) -> SecretStr:
    check_mongo_url(value.get_secret_value())
    return value


#: The types of the settings.
RedisUrl = Annotated[SecretStr, AfterValidator(_redis_url)]
MongoUrl = Annotated[SecretStr, AfterValidator(_mongo_url)]
