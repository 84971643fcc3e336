"""A URL of a server that no client could use is refused at once, and shows no password."""

from __future__ import annotations

import pytest

from config.settings import SettingsError, read_settings


@pytest.mark.parametrize(
    "url",
    [
        *("redis://redis:6379/0", "redis://127.0.0.1", "rediss://:hunter2@redis.internal:6380/3"),
        *("rediss://shop:p%23ss@redis/0?ssl_cert_reqs=none", "redis://redis/0?socket_timeout=3"),
        "redis://[::1]:6379/0",
    ],
)
def test_a_url_of_redis_is_taken(environment: pytest.MonkeyPatch, url: str) -> None:
    environment.setenv("SNAPSKU_REDIS_URL", url)
    assert read_settings().redis_url.get_secret_value() == url


@pytest.mark.parametrize(
    "url",
    [
        *("mongodb://mongo:27017/", "mongodb://a:27017,b:27018/?replicaSet=rs0"),
        *("mongodb+srv://cluster.example/", "mongodb://shop:p%40ss@mongo/admin?tls=true"),
        "mongodb://127.0.0.1:27017/?journal=false",
    ],
)
def test_a_url_of_mongodb_is_taken(environment: pytest.MonkeyPatch, url: str) -> None:
    environment.setenv("SNAPSKU_MONGO_URL", url)
    assert read_settings().mongo_url.get_secret_value() == url


@pytest.mark.parametrize(
    ("name", "url", "told"),
    [
        ("REDIS", "localhost:6379", "must be a URL such as redis://HOST:6379/0"),
        ("REDIS", "http://redis:6379", "must be a URL such as redis://HOST:6379/0"),
        ("REDIS", "unix:///run/redis.sock", "must be a URL such as redis://HOST:6379/0"),
        ("REDIS", "redis://:hunter2@redis:6379/0?timeout=5", "an option after the . that is not"),
        ("REDIS", "redis://:hun#ter2@redis:6379/0", "can't be read"),
        ("REDIS", "redis://", "names no host"),
        ("REDIS", "redis://redis:port/0", "can't be read"),
        ("REDIS", "redis://redis:6379/first", "number of a database"),
        ("MONGO", "localhost", "must be a URL such as mongodb://HOST:27017/"),
        ("MONGO", "localhost:27017", "must be a URL such as mongodb://HOST:27017/"),
        ("MONGO", "mongodb://", "can't be read"),
        ("MONGO", "mongodb+srv://", "names no host"),
        ("MONGO", "mongodb://shop:hun/ter2@mongo:27017/", "can't be read"),
        ("MONGO", "mongodb://mongo:port/", "can't be read"),
    ],
)
def test_another_text_is_refused_in_one_line_without_its_password(
    environment: pytest.MonkeyPatch, name: str, url: str, told: str
) -> None:
    environment.setenv(f"SNAPSKU_{name}_URL", url)
    with pytest.raises(SettingsError, match=told) as refused:
        read_settings()
    line = str(refused.value)
    assert line.startswith(f"SNAPSKU_{name}_URL: ")
    assert "\n" not in line
    assert "hun" not in line
