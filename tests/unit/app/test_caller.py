"""The gate: each refusal has its code, in its order, and no bad call passes."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import fakeredis
import pytest
from flask.testing import FlaskClient
from pymongo.errors import AutoReconnect

from app.server import OPERATIONS
from app.services import Services
from catalog.rows.accounts import AccessKey, MalformedAccountError
from identity.vault import Vault
from tests.request_signer import SignedBy, bearer
from tests.unit.app.caller_standins import API_KEY, NOW, SECRET, Rows, refuses, system_code
from tests.unit.app.standins import assert_busy, business_code, envelope

MakeServices = Callable[..., Services]

PATHS = [path for operation in OPERATIONS for path in operation.paths]


@pytest.fixture
def signed() -> SignedBy:
    """Signs as existing clients do, now."""
    return SignedBy("AK", SECRET, NOW)


def call(gated: FlaskClient, headers: dict[str, str], **changed: Any) -> str:
    """Call an operation that answers a business code at once; return the system code."""
    sent: dict[str, Any] = {"path": "/v1/add_image", "data": b"{}", "headers": headers} | changed
    return system_code(gated.post(**sent))


@pytest.mark.parametrize("path", PATHS)
def test_every_path_of_an_operation_takes_a_signature_and_a_bearer_key(
    gated: FlaskClient, signed: SignedBy, path: str
) -> None:
    assert call(gated, signed(path, b"[]") | {"X": "1"}, path=path, data=b"{}") == "10047"
    response = gated.post(path, data=b"[]", headers=signed(path, b"[]"))
    assert business_code(response) == 5001, "it was handled, and the body is no object"
    assert business_code(gated.post(path, data=b"[]", headers=bearer(API_KEY))) == 5001


@refuses("10042")
@pytest.mark.parametrize("path", [*PATHS, "/v1/picture"])
def test_every_path_is_closed_without_a_key(gated: FlaskClient, path: str) -> None:
    method = "GET" if path == "/v1/picture" else "POST"
    assert system_code(gated.open(path, method=method, data=b"no json")) == "10042"


def test_health_and_reference_stay_open(gated: FlaskClient) -> None:
    for path in ("/healthz", "/docs", "/docs/try", "/openapi.json"):
        assert gated.get(path).status_code == 200


@pytest.mark.parametrize("algorithm", ["JDCLOUD2", "JDCLOUD3"])
def test_both_algorithms_are_taken(gated: FlaskClient, signed: SignedBy, algorithm: str) -> None:
    chosen = dataclasses.replace(signed, algorithm=algorithm)
    assert call(gated, chosen("/v1/add_image", b"{}")) == "10000"


@refuses("10042")
@pytest.mark.parametrize(
    "text",
    ["", "Bearer", "Bearer ", "Basic YTpi", "JDCLOUD2-HMAC-SHA256", "snapsku_x", "Bearer\tx"],
)
def test_an_authorization_of_another_form_is_10042(gated: FlaskClient, text: str) -> None:
    assert call(gated, {"Authorization": text}) == "10042"


@refuses("10042")
def test_an_authorization_without_a_signature_is_10042(
    gated: FlaskClient, signed: SignedBy
) -> None:
    headers = signed("/v1/add_image", b"{}")
    text = headers["Authorization"].rpartition(",")[0]
    assert call(gated, headers | {"Authorization": text}) == "10042"


@refuses("10041")
def test_a_missing_date_is_10041(gated: FlaskClient, signed: SignedBy) -> None:
    headers = signed("/v1/add_image", b"{}")
    del headers["x-jdcloud-date"]
    assert call(gated, headers) == "10041"


@refuses("10046")
@pytest.mark.parametrize("text", ["", "now", "20261122", "2026-11-22T12:00:00Z", "1669118400"])
def test_a_malformed_date_is_10046(gated: FlaskClient, signed: SignedBy, text: str) -> None:
    dated = dataclasses.replace(signed, day="20261122")
    headers = dated("/v1/add_image", b"{}", **{"x-jdcloud-date": text})
    assert call(gated, headers) == "10046"


@refuses("10045")
@pytest.mark.parametrize(
    ("seconds", "code"), [(-301, "10045"), (-300, "10000"), (300, "10000"), (301, "10045")]
)
def test_a_signature_is_good_for_five_minutes_either_way(
    gated: FlaskClient, signed: SignedBy, seconds: int, code: str
) -> None:
    then = dataclasses.replace(signed, date=NOW + timedelta(seconds=seconds))
    assert call(gated, then("/v1/add_image", b"{}")) == code


@refuses("10001")
def test_an_unknown_key_is_10001(gated: FlaskClient, signed: SignedBy) -> None:
    other = dataclasses.replace(signed, access_key="AX")
    assert call(gated, other("/v1/add_image", b"{}")) == "10001"
    assert call(gated, bearer("snapsku_y")) == "10001"


@refuses("10001")
def test_a_key_that_was_replaced_is_10001(gated: FlaskClient, signed: SignedBy, rows: Rows) -> None:
    rows.account = dataclasses.replace(rows.account, access_key="NEW")
    assert call(gated, signed("/v1/add_image", b"{}")) == "10001"
    assert call(gated, bearer(API_KEY)) == "10001"


@refuses("10047")
def test_a_signature_of_another_secret_body_path_query_or_header_is_10047(
    gated: FlaskClient, signed: SignedBy
) -> None:
    path = "/v1/add_image"
    assert call(gated, dataclasses.replace(signed, secret="other")(path, b"{}")) == "10047"
    assert call(gated, signed(path, b"{ }")) == "10047"
    assert call(gated, signed("/jdai/product_image_add", b"{}")) == "10047"
    assert call(gated, signed(path, b"{}"), path=f"{path}?a=1") == "10047"
    assert call(gated, signed(f"{path}?a=1", b"{}"), path=f"{path}?a=2") == "10047"
    headers = signed(path, b"{}", **{"x-more": "1"})
    assert call(gated, headers | {"x-more": "2"}) == "10047"
    assert call(gated, headers | {"x-jdcloud-nonce": "another"}) == "10047"
    del headers["x-more"]
    assert call(gated, headers) == "10047"


@refuses("10047")
@pytest.mark.parametrize("name", ["x-jdcloud-nonce", "x-jdcloud-date"])
def test_a_call_whose_date_or_nonce_is_not_signed_works_once(
    gated: FlaskClient, signed: SignedBy, name: str
) -> None:
    unsigned = dataclasses.replace(signed, without=name)
    headers = unsigned("/v1/add_image", b"{}")
    assert [call(gated, headers) for _ in range(2)] == ["10000", "10047"]
    assert call(gated, headers | {"x-jdcloud-nonce": "another"}) == "10047"
    dated = headers | {"x-jdcloud-date": "20261122T120001Z"}
    assert call(gated, dated | {"x-jdcloud-nonce": "a third"}) == "10047"


@refuses("10047")
def test_a_nonce_with_another_run_of_blanks_is_the_same_one(
    gated: FlaskClient, signed: SignedBy
) -> None:
    headers = signed("/v1/add_image", b"{}", **{"x-jdcloud-nonce": "a b"})
    assert call(gated, headers) == "10000"
    for nonce in ("a  b", "a \t b", " a b "):
        assert call(gated, headers | {"x-jdcloud-nonce": nonce}) == "10047"


def test_of_a_call_without_any_nonce_the_signature_counts(
    gated: FlaskClient, signed: SignedBy
) -> None:
    headers = dataclasses.replace(signed, without="x-jdcloud-nonce")("/v1/add_image", b"{}")
    del headers["x-jdcloud-nonce"]
    assert [call(gated, headers) for _ in range(2)] == ["10000", "10047"]


@refuses("10047")
def test_a_credential_of_another_day_is_10047(gated: FlaskClient, signed: SignedBy) -> None:
    other = dataclasses.replace(signed, day="20261121")
    assert call(gated, other("/v1/add_image", b"{}")) == "10047"


@refuses("10047")
def test_a_request_works_once(gated: FlaskClient, signed: SignedBy) -> None:
    headers = signed("/v1/add_image", b"{}")
    assert [call(gated, headers) for _ in range(3)] == ["10000", "10047", "10047"]
    again = signed("/v1/add_image", b"{}", **{"x-jdcloud-nonce": headers["x-jdcloud-nonce"]})
    assert call(gated, again) == "10047"


def test_a_nonce_counts_for_its_own_key_and_only_with_a_good_signature(
    gated: FlaskClient, signed: SignedBy, rows: Rows, vault: Vault
) -> None:
    nonce = {"x-jdcloud-nonce": "n"}
    rows.keys["AK2"] = AccessKey(access_key="AK2", user="shop", secret=vault.seal("AK2", SECRET))
    forged = dataclasses.replace(signed, secret="other")
    assert call(gated, forged("/v1/add_image", b"{}", **nonce)) == "10047"
    assert call(gated, signed("/v1/add_image", b"{}", **nonce)) == "10000"
    rows.account = dataclasses.replace(rows.account, access_key="AK2")
    second = dataclasses.replace(signed, access_key="AK2")
    assert call(gated, second("/v1/add_image", b"{}", **nonce)) == "10000"


def test_a_nonce_is_kept_for_longer_than_its_request_can_be_good(
    gated: FlaskClient, signed: SignedBy, redis_client: fakeredis.FakeRedis
) -> None:
    assert call(gated, signed("/v1/add_image", b"{}", **{"x-jdcloud-nonce": "n"})) == "10000"
    name = f"nonce:AK:{hashlib.sha256(b'n').hexdigest()}"
    assert redis_client.ttl(name) > 600


@refuses("10050")
def test_a_disabled_user_is_10050_and_only_to_who_has_its_key(
    gated: FlaskClient, signed: SignedBy, rows: Rows
) -> None:
    rows.account = dataclasses.replace(rows.account, is_disabled=True)
    assert call(gated, signed("/v1/add_image", b"{}")) == "10050"
    assert call(gated, bearer(API_KEY)) == "10050"
    forged = dataclasses.replace(signed, secret="other")
    assert call(gated, forged("/v1/add_image", b"{}")) == "10047"


@refuses("INVALID_USER_ID")
@pytest.mark.parametrize("account", [None, MalformedAccountError("disabled is a list")])
def test_a_good_key_whose_account_is_gone_or_malformed_is_3020(
    gated: FlaskClient, signed: SignedBy, rows: Rows, account: Any
) -> None:
    rows.account = account
    for headers in (signed("/v1/add_image", b"{}"), bearer(API_KEY)):
        response = gated.post("/v1/add_image", data=b"{}", headers=headers)
        assert (response.status_code, business_code(response)) == (200, 3020)
        assert envelope(response)["result"]["message"] == "INVALID_USER_ID"
    forged = dataclasses.replace(signed, secret="other")
    assert call(gated, forged("/v1/add_image", b"{}")) == "10047"


def test_the_refusals_come_in_one_order(gated: FlaskClient, signed: SignedBy, rows: Rows) -> None:
    """With everything wrong at once, each fault that is mended gives way to the next code."""
    rows.account = dataclasses.replace(rows.account, is_disabled=True)
    wrong = dataclasses.replace(signed, access_key="AX", secret="other")
    headers = wrong("/v1/add_image", b"{}")
    told = []
    for date in (None, "now", "20261122T110000Z", "20261122T120000Z"):
        dated = {k: v for k, v in headers.items() if k != "x-jdcloud-date"}
        told.append(call(gated, dated if date is None else dated | {"x-jdcloud-date": date}))
    told.append(call(gated, dataclasses.replace(wrong, access_key="AK")("/v1/add_image", b"{}")))
    told.append(call(gated, signed("/v1/add_image", b"{}")))
    assert told == ["10041", "10046", "10045", "10001", "10047", "10050"]


def test_a_refused_call_is_not_read(gated: FlaskClient, signed: SignedBy) -> None:
    large = b" " * 20_000
    assert call(gated, {}, data=large) == "10042"
    unknown = dataclasses.replace(signed, access_key="AX")("/v1/add_image", large)
    assert call(gated, unknown, data=large) == "10001"
    other_day = dataclasses.replace(signed, day="20261121")("/v1/add_image", large)
    assert call(gated, other_day, data=large) == "10047"
    response = gated.post("/v1/add_image", data=large, headers=signed("/v1/add_image", large))
    assert (response.status_code, business_code(response)) == (413, 3056)


def test_without_redis_a_signature_is_busy_and_a_bearer_key_goes_on(
    gated: FlaskClient,
    signed: SignedBy,
    redis_server: fakeredis.FakeServer,
    log_lines: list[Any],
) -> None:
    redis_server.connected = False
    for count in (1, 2):
        headers = signed("/v1/add_image", b"{}")
        assert_busy(gated.post("/v1/add_image", data=b"{}", headers=headers))
        assert [line["unchecked"] for line in log_lines if "unchecked" in line][-1] == count
    assert call(gated, bearer(API_KEY)) == "10000"
    forged = dataclasses.replace(signed, secret="other")
    assert call(gated, forged("/v1/add_image", b"{}")) == "10047"


def test_without_the_key_of_the_secrets_a_signature_is_busy(
    gated: FlaskClient, signed: SignedBy, rows: Rows, tmp_path: Path, log_lines: list[Any]
) -> None:
    rows.keys["AK"] = AccessKey(
        access_key="AK", user="shop", secret=Vault("y" * 32, tmp_path).seal("AK", SECRET)
    )
    assert_busy(gated.post("/v1/add_image", data=b"{}", headers=signed("/v1/add_image", b"{}")))
    assert any("SNAPSKU_SECRET_KEY" in str(line) for line in log_lines)


def test_without_mongodb_every_path_is_busy(gated: FlaskClient, rows: Rows) -> None:
    rows.account = AutoReconnect("gone")
    assert_busy(gated.post("/v1/add_image", data=b"{}", headers=bearer(API_KEY)))
    assert_busy(gated.get("/v1/picture", headers=bearer(API_KEY)))


def test_no_secret_of_a_request_is_in_any_line_of_the_log(
    gated: FlaskClient, signed: SignedBy, log_lines: list[Any]
) -> None:
    headers = signed("/v1/add_image", b"{}")
    call(gated, headers)
    call(gated, headers)
    call(gated, bearer(API_KEY))
    call(gated, bearer("snapsku_another"))
    written = str(log_lines)
    assert "not admitted" in written
    for secret in (headers["Authorization"][-64:], SECRET, API_KEY, "snapsku_another"):
        assert secret not in written


def test_lines_of_an_admitted_call_name_its_user(gated: FlaskClient, log_lines: list[Any]) -> None:
    call(gated, bearer(API_KEY))
    assert log_lines[-1]["user"] == "shop"
