"""The gate: each refusal has its code, in its order, and nobody slips by."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import fakeredis
import pytest
from app_standins import assert_busy, business_code, envelope
from flask.testing import FlaskClient
from pymongo.errors import AutoReconnect
from request_signer import SignedBy, bearer
from werkzeug.test import TestResponse

from app.caller import Gate
from app.server import OPERATIONS, create_app
from app.services import Services
from catalog.accounts import AccessKey, Account, MalformedAccountError
from identity.keys import hash_of
from identity.nonces import Nonces
from identity.vault import Vault

MakeServices = Callable[..., Services]

NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
SECRET = "the secret"
API_KEY = "snapsku_x"
PATHS = [path for operation in OPERATIONS for path in operation.paths]


def refuses(*codes: str) -> pytest.MarkDecorator:
    return pytest.mark.answers("any call", *codes)


class Rows:
    """Accounts in memory, one user with keys."""

    def __init__(self, vault: Vault) -> None:
        self.account: Any = Account("shop", "AK", False, None, None, NOW)
        self.keys = {"AK": AccessKey("AK", "shop", vault.seal("AK", SECRET))}
        self.asked = 0

    def is_anybody(self) -> bool:
        self.asked += 1
        return bool(self.keys)

    def find(self, user: str) -> Any:
        if isinstance(self.account, Exception):
            raise self.account
        return self.account

    def key(self, access_key: str) -> AccessKey | None:
        return self.keys.get(access_key)

    def key_of_api(self, api_key_hash: str) -> AccessKey | None:
        return self.keys.get("AK") if api_key_hash == hash_of(API_KEY) else None


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return Vault("x" * 32, tmp_path)


@pytest.fixture
def rows(vault: Vault) -> Rows:
    return Rows(vault)


@pytest.fixture
def client(
    make_services: MakeServices, redis_client: fakeredis.FakeRedis, rows: Rows, vault: Vault
) -> FlaskClient:
    gate = Gate(rows, Nonces(redis_client), vault, clock=lambda: NOW)  # type: ignore[arg-type]
    return create_app(make_services(gate=gate, body_bytes=10_000)).test_client()


@pytest.fixture
def signed() -> SignedBy:
    """Signs as existing clients do, now."""
    return SignedBy("AK", SECRET, NOW)


def system_code(response: TestResponse) -> str:
    body = envelope(response)
    assert response.status_code == {"10050": 403, "10000": 200}.get(body["code"], 401)
    assert ("WWW-Authenticate" in response.headers) == (response.status_code == 401)
    code: str = body["code"]
    return code


def call(client: FlaskClient, headers: dict[str, str], **changed: Any) -> str:
    """Call an operation that answers a business code at once; give the system code."""
    sent: dict[str, Any] = {"path": "/v1/add_image", "data": b"{}", "headers": headers} | changed
    return system_code(client.post(**sent))


@pytest.mark.parametrize("path", PATHS)
def test_every_path_of_an_operation_takes_a_signature_and_a_bearer_key(
    client: FlaskClient, signed: SignedBy, path: str
) -> None:
    assert call(client, signed(path, b"[]") | {"X": "1"}, path=path, data=b"{}") == "10047"
    response = client.post(path, data=b"[]", headers=signed(path, b"[]"))
    assert business_code(response) == 5001, "it was handled, and the body is no object"
    assert business_code(client.post(path, data=b"[]", headers=bearer(API_KEY))) == 5001


@refuses("10042")
@pytest.mark.parametrize("path", [*PATHS, "/v1/picture"])
def test_every_path_is_closed_without_a_key(client: FlaskClient, path: str) -> None:
    method = "GET" if path == "/v1/picture" else "POST"
    assert system_code(client.open(path, method=method, data=b"no json")) == "10042"


def test_health_and_reference_stay_open(client: FlaskClient) -> None:
    for path in ("/healthz", "/docs", "/openapi.json"):
        assert client.get(path).status_code == 200


@pytest.mark.parametrize("algorithm", ["JDCLOUD2", "JDCLOUD3"])
def test_both_algorithms_are_taken(client: FlaskClient, signed: SignedBy, algorithm: str) -> None:
    chosen = dataclasses.replace(signed, algorithm=algorithm)
    assert call(client, chosen("/v1/add_image", b"{}")) == "10000"


@refuses("10042")
@pytest.mark.parametrize(
    "text",
    ["", "Bearer", "Bearer ", "Basic YTpi", "JDCLOUD2-HMAC-SHA256", "snapsku_x", "Bearer\tx"],
)
def test_an_authorization_of_another_form_is_10042(client: FlaskClient, text: str) -> None:
    assert call(client, {"Authorization": text}) == "10042"


@refuses("10042")
def test_an_authorization_without_a_signature_is_10042(
    client: FlaskClient, signed: SignedBy
) -> None:
    headers = signed("/v1/add_image", b"{}")
    text = headers["Authorization"].rpartition(",")[0]
    assert call(client, headers | {"Authorization": text}) == "10042"


@refuses("10041")
def test_a_missing_date_is_10041(client: FlaskClient, signed: SignedBy) -> None:
    headers = signed("/v1/add_image", b"{}")
    del headers["x-jdcloud-date"]
    assert call(client, headers) == "10041"


@refuses("10046")
@pytest.mark.parametrize("text", ["", "now", "20261122", "2026-11-22T12:00:00Z", "1669118400"])
def test_a_malformed_date_is_10046(client: FlaskClient, signed: SignedBy, text: str) -> None:
    dated = dataclasses.replace(signed, day="20261122")
    headers = dated("/v1/add_image", b"{}", **{"x-jdcloud-date": text})
    assert call(client, headers) == "10046"


@refuses("10045")
@pytest.mark.parametrize(
    ("seconds", "code"), [(-301, "10045"), (-300, "10000"), (300, "10000"), (301, "10045")]
)
def test_a_signature_is_good_for_five_minutes_either_way(
    client: FlaskClient, signed: SignedBy, seconds: int, code: str
) -> None:
    then = dataclasses.replace(signed, date=NOW + timedelta(seconds=seconds))
    assert call(client, then("/v1/add_image", b"{}")) == code


@refuses("10001")
def test_an_unknown_key_is_10001(client: FlaskClient, signed: SignedBy) -> None:
    other = dataclasses.replace(signed, access_key="AX")
    assert call(client, other("/v1/add_image", b"{}")) == "10001"
    assert call(client, bearer("snapsku_y")) == "10001"


@refuses("10001")
def test_a_key_that_was_replaced_is_10001(
    client: FlaskClient, signed: SignedBy, rows: Rows
) -> None:
    rows.account = dataclasses.replace(rows.account, access_key="NEW")
    assert call(client, signed("/v1/add_image", b"{}")) == "10001"
    assert call(client, bearer(API_KEY)) == "10001"


@refuses("10047")
def test_a_signature_of_another_secret_body_path_query_or_header_is_10047(
    client: FlaskClient, signed: SignedBy
) -> None:
    path = "/v1/add_image"
    assert call(client, dataclasses.replace(signed, secret="other")(path, b"{}")) == "10047"
    assert call(client, signed(path, b"{ }")) == "10047"
    assert call(client, signed("/jdai/product_image_add", b"{}")) == "10047"
    assert call(client, signed(path, b"{}"), path=f"{path}?a=1") == "10047"
    assert call(client, signed(f"{path}?a=1", b"{}"), path=f"{path}?a=2") == "10047"
    headers = signed(path, b"{}", **{"x-more": "1"})
    assert call(client, headers | {"x-more": "2"}) == "10047"
    assert call(client, headers | {"x-jdcloud-nonce": "another"}) == "10047"
    del headers["x-more"]
    assert call(client, headers) == "10047"


@refuses("10047")
@pytest.mark.parametrize("name", ["x-jdcloud-nonce", "x-jdcloud-date"])
def test_date_and_nonce_that_are_not_signed_are_10047(
    client: FlaskClient, signed: SignedBy, name: str
) -> None:
    unsigned = dataclasses.replace(signed, without=name)
    headers = unsigned("/v1/add_image", b"{}")
    assert call(client, headers) == "10047"


@refuses("10047")
def test_a_credential_of_another_day_is_10047(client: FlaskClient, signed: SignedBy) -> None:
    other = dataclasses.replace(signed, day="20261121")
    assert call(client, other("/v1/add_image", b"{}")) == "10047"


@refuses("10047")
def test_a_request_works_once(client: FlaskClient, signed: SignedBy) -> None:
    headers = signed("/v1/add_image", b"{}")
    assert [call(client, headers) for _ in range(3)] == ["10000", "10047", "10047"]
    again = signed("/v1/add_image", b"{}", **{"x-jdcloud-nonce": headers["x-jdcloud-nonce"]})
    assert call(client, again) == "10047"


def test_a_nonce_counts_for_its_own_key_and_only_with_a_good_signature(
    client: FlaskClient, signed: SignedBy, rows: Rows, vault: Vault
) -> None:
    nonce = {"x-jdcloud-nonce": "n"}
    rows.keys["AK2"] = AccessKey("AK2", "shop", vault.seal("AK2", SECRET))
    forged = dataclasses.replace(signed, secret="other")
    assert call(client, forged("/v1/add_image", b"{}", **nonce)) == "10047"
    assert call(client, signed("/v1/add_image", b"{}", **nonce)) == "10000"
    rows.account = dataclasses.replace(rows.account, access_key="AK2")
    second = dataclasses.replace(signed, access_key="AK2")
    assert call(client, second("/v1/add_image", b"{}", **nonce)) == "10000"


def test_a_nonce_is_kept_for_longer_than_its_request_can_be_good(
    client: FlaskClient, signed: SignedBy, redis_client: fakeredis.FakeRedis
) -> None:
    assert call(client, signed("/v1/add_image", b"{}", **{"x-jdcloud-nonce": "n"})) == "10000"
    name = f"nonce:AK:{hashlib.sha256(b'n').hexdigest()}"
    assert redis_client.ttl(name) > 600


@refuses("10050")
def test_a_disabled_user_is_10050_and_only_to_who_has_its_key(
    client: FlaskClient, signed: SignedBy, rows: Rows
) -> None:
    rows.account = dataclasses.replace(rows.account, is_disabled=True)
    assert call(client, signed("/v1/add_image", b"{}")) == "10050"
    assert call(client, bearer(API_KEY)) == "10050"
    forged = dataclasses.replace(signed, secret="other")
    assert call(client, forged("/v1/add_image", b"{}")) == "10047"


@refuses("INVALID_USER_ID")
@pytest.mark.parametrize("account", [None, MalformedAccountError("disabled is a list")])
def test_a_good_key_whose_account_is_gone_or_malformed_is_3020(
    client: FlaskClient, signed: SignedBy, rows: Rows, account: Any
) -> None:
    rows.account = account
    for headers in (signed("/v1/add_image", b"{}"), bearer(API_KEY)):
        response = client.post("/v1/add_image", data=b"{}", headers=headers)
        assert (response.status_code, business_code(response)) == (200, 3020)
        assert envelope(response)["result"]["message"] == "INVALID_USER_ID"
    forged = dataclasses.replace(signed, secret="other")
    assert call(client, forged("/v1/add_image", b"{}")) == "10047"


def test_the_refusals_come_in_one_order(client: FlaskClient, signed: SignedBy, rows: Rows) -> None:
    """With everything wrong at once, each fault that is mended gives way to the next code."""
    rows.account = dataclasses.replace(rows.account, is_disabled=True)
    wrong = dataclasses.replace(signed, access_key="AX", secret="other")
    headers = wrong("/v1/add_image", b"{}")
    told = []
    for date in (None, "now", "20261122T110000Z", "20261122T120000Z"):
        dated = {k: v for k, v in headers.items() if k != "x-jdcloud-date"}
        told.append(call(client, dated if date is None else dated | {"x-jdcloud-date": date}))
    told.append(call(client, dataclasses.replace(wrong, access_key="AK")("/v1/add_image", b"{}")))
    told.append(call(client, signed("/v1/add_image", b"{}")))
    assert told == ["10041", "10046", "10045", "10001", "10047", "10050"]


def test_a_refused_call_is_not_read(client: FlaskClient, signed: SignedBy) -> None:
    large = b" " * 20_000
    assert call(client, {}, data=large) == "10042"
    unknown = dataclasses.replace(signed, access_key="AX")("/v1/add_image", large)
    assert call(client, unknown, data=large) == "10001"
    other_day = dataclasses.replace(signed, day="20261121")("/v1/add_image", large)
    assert call(client, other_day, data=large) == "10047"
    response = client.post("/v1/add_image", data=large, headers=signed("/v1/add_image", large))
    assert (response.status_code, business_code(response)) == (413, 3056)


def test_without_redis_a_signature_is_busy_and_a_bearer_key_goes_on(
    client: FlaskClient,
    signed: SignedBy,
    redis_server: fakeredis.FakeServer,
    log_lines: list[Any],
) -> None:
    redis_server.connected = False
    for count in (1, 2):
        headers = signed("/v1/add_image", b"{}")
        assert_busy(client.post("/v1/add_image", data=b"{}", headers=headers))
        assert [line["unchecked"] for line in log_lines if "unchecked" in line][-1] == count
    assert call(client, bearer(API_KEY)) == "10000"
    forged = dataclasses.replace(signed, secret="other")
    assert call(client, forged("/v1/add_image", b"{}")) == "10047"


def test_without_the_key_of_the_secrets_a_signature_is_busy(
    client: FlaskClient, signed: SignedBy, rows: Rows, tmp_path: Path, log_lines: list[Any]
) -> None:
    rows.keys["AK"] = AccessKey("AK", "shop", Vault("y" * 32, tmp_path).seal("AK", SECRET))
    assert_busy(client.post("/v1/add_image", data=b"{}", headers=signed("/v1/add_image", b"{}")))
    assert any("SNAPSKU_SECRET_KEY" in str(line) for line in log_lines)


def test_without_mongodb_every_path_is_busy(client: FlaskClient, rows: Rows) -> None:
    rows.account = AutoReconnect("gone")
    assert_busy(client.post("/v1/add_image", data=b"{}", headers=bearer(API_KEY)))
    assert_busy(client.get("/v1/picture", headers=bearer(API_KEY)))


def test_no_secret_of_a_request_is_in_any_line_of_the_log(
    client: FlaskClient, signed: SignedBy, log_lines: list[Any]
) -> None:
    headers = signed("/v1/add_image", b"{}")
    call(client, headers)
    call(client, headers)
    call(client, bearer(API_KEY))
    call(client, bearer("snapsku_another"))
    written = str(log_lines)
    assert "not admitted" in written
    for secret in (headers["Authorization"][-64:], SECRET, API_KEY, "snapsku_another"):
        assert secret not in written


def test_lines_of_an_admitted_call_name_its_user(client: FlaskClient, log_lines: list[Any]) -> None:
    call(client, bearer(API_KEY))
    assert log_lines[-1]["user"] == "shop"


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


def ask(client: FlaskClient, how: dict[str, Any]) -> str:
    environ = {"REMOTE_ADDR": how.get("remote", "127.0.0.1")}
    headers = how.get("headers", {})
    if "Host" in headers:
        environ["HTTP_HOST"] = headers["Host"]
        headers = {}
    return system_code(
        client.post(
            "/v1/add_image",
            data=b"{}",
            headers=headers,
            base_url=how.get("base_url"),
            environ_overrides=environ,
        )
    )


@pytest.mark.parametrize("how", HERE, ids=json.dumps)
def test_before_any_key_a_program_of_this_machine_is_served(
    client: FlaskClient, rows: Rows, how: dict[str, Any]
) -> None:
    rows.keys.clear()
    assert ask(client, how) == "10000"


@refuses("10042")
@pytest.mark.parametrize("how", ELSEWHERE, ids=json.dumps)
def test_before_any_key_nobody_else_is_served(
    client: FlaskClient, rows: Rows, how: dict[str, Any]
) -> None:
    rows.keys.clear()
    assert ask(client, how) == "10042"


def test_the_first_key_closes_the_service_for_good_and_is_not_looked_for_again(
    client: FlaskClient, rows: Rows
) -> None:
    keys, rows.keys = rows.keys, {}
    assert [ask(client, {}) for _ in range(2)] == ["10000"] * 2
    rows.keys = keys
    assert ask(client, {}) == "10042"
    rows.keys = {}
    asked = rows.asked
    assert [ask(client, {}) for _ in range(2)] == ["10042"] * 2
    assert rows.asked == asked
