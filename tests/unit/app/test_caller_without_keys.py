"""As long as no key was made: programs of this machine are served, and no others."""

from __future__ import annotations

import json
from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.unit.app.caller_standins import Rows, refuses, system_code

HERE: list[dict[str, Any]] = [
    {},
    {"base_url": "http://localhost:8000"},
    {"base_url": "http://LOCALHOST:8000"},
    {"base_url": "http://127.0.0.1:8000", "headers": {"Origin": "http://127.0.0.1:8000"}},
    {"base_url": "http://127.8.9.10"},
    {"base_url": "http://[::1]:8000", "remote": "::1"},
    {"remote": "::ffff:127.0.0.1"},
    {"headers": {"Sec-Fetch-Site": "same-origin"}},
    {"headers": {"Sec-Fetch-Site": "none"}},
    {"headers": {"Authorization": "JDCLOUD2-HMAC-SHA256 of the key of another service"}},
]
ELSEWHERE: list[dict[str, Any]] = [
    *({"remote": address} for address in ("192.168.1.5", "172.17.0.1", "::2", "", "unix:")),
    *({"remote": address} for address in ("::ffff:10.0.0.1", "8.8.8.8", "fe80::1")),
    *(
        {"headers": {name: value}}
        for name, value in [
            ("Forwarded", "for=127.0.0.1"),
            ("X-Forwarded-For", "127.0.0.1"),
            ("X-Forwarded-Host", "localhost"),
            ("X-Forwarded-Proto", "https"),
            ("X-Real-IP", "127.0.0.1"),
            ("Via", "1.1 proxy"),
            ("Origin", "null"),
            ("Origin", ""),
            ("Origin", "http://shop.example"),
            ("Origin", "http://localhost:3000"),
            ("Origin", "http://localhost.shop.example"),
            ("Origin", "file://"),
            ("Sec-Fetch-Site", "cross-site"),
            ("Sec-Fetch-Site", "same-site"),
            *(
                ("Host", host)
                for host in [
                    *("", "shop.example", "shop.example:8000", "localhost.shop.example"),
                    *("192.168.1.5", "127.0.0.1.shop.example", "0.0.0.0", "127.1", "2130706433"),  # noqa: S104
                    *("shop.example@127.0.0.1", "127.0.0.1/x", "127.0.0.1:x", "[::2]", "[::1"),
                    *("localhost, shop.example", "localhost#", "localhost?", "localhost\\"),
                ]
            ),
        ]
    ),
]


def ask(gated: FlaskClient, how: dict[str, Any]) -> str:
    environ = {"REMOTE_ADDR": how.get("remote", "127.0.0.1")}
    headers = how.get("headers", {})
    if "Host" in headers:
        environ["HTTP_HOST"] = headers["Host"]
        headers = {}
    return system_code(
        gated.post(
            "/v1/add_image",
            data=b"{}",
            headers=headers,
            base_url=how.get("base_url"),
            environ_overrides=environ,
        )
    )


@pytest.mark.parametrize("how", HERE, ids=json.dumps)
def test_before_any_key_a_program_of_this_machine_is_served(
    gated: FlaskClient, rows: Rows, how: dict[str, Any]
) -> None:
    rows.keys.clear()
    assert ask(gated, how) == "10000"


@refuses("10042")
@pytest.mark.parametrize("how", ELSEWHERE, ids=json.dumps)
def test_before_any_key_nobody_else_is_served(
    gated: FlaskClient, rows: Rows, how: dict[str, Any]
) -> None:
    rows.keys.clear()
    assert ask(gated, how) == "10042"


def test_the_first_key_closes_the_service_for_good_and_is_not_looked_for_again(
    gated: FlaskClient, rows: Rows
) -> None:
    keys, rows.keys = rows.keys, {}
    assert [ask(gated, {}) for _ in range(2)] == ["10000"] * 2
    rows.keys = keys
    assert ask(gated, {}) == "10042"
    rows.keys = {}
    asked = rows.asked
    assert [ask(gated, {}) for _ in range(2)] == ["10042"] * 2
    assert rows.asked == asked
