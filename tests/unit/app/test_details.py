"""What a refusal says: what was wrong and what would do, and nothing that is private."""

from __future__ import annotations

import dataclasses
import string
from datetime import timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient

from app.auth.quotas import Charge
from app.http.details import ECHO_CHARACTERS, HTTP_SENTENCES, detail_of, echo, kind_of
from app.http.envelope import SystemCode
from app.server import create_app
from catalog.rows.products import MOST_IMAGES
from config.settings import Settings
from contract import errors
from contract.errors import TABLE, ContractError
from tests.answer_details import is_sentence
from tests.request_signer import SignedBy, bearer
from tests.unit.app.caller_standins import API_KEY, NOW, SECRET, Rows
from tests.unit.app.conftest import MakeServices
from tests.unit.app.standins import envelope

PATH = "/v1/add_image"


NO_LIMITS = Settings(
    images_per_call=0,
    products_per_call=0,
    deletions_per_call=0,
    products_per_collection=0,
    image_bytes=0,
    body_bytes=0,
)


@pytest.fixture
def signed() -> SignedBy:
    return SignedBy("AK", SECRET, NOW)


def refusal(gated: FlaskClient, headers: dict[str, str], path: str = PATH, **sent: Any) -> str:
    """The detail of a call that is not admitted."""
    body = envelope(gated.post(path, headers=headers, **({"data": b"{}"} | sent)))
    assert body["code"] != "10000"
    return str(body["detail"])


@pytest.mark.parametrize("error", TABLE, ids=lambda error: error.__name__)
def test_each_code_has_a_plain_sentence_with_the_settings_that_hold(
    error: type[ContractError],
) -> None:
    names = {name for _, name, _, _ in string.Formatter().parse(error.sentence) if name}
    assert names <= set(Settings.model_fields)
    for chosen in (Settings(), NO_LIMITS):
        told = detail_of(error, chosen)
        assert is_sentence(told)
        assert len(told) < 130
        assert not told.endswith(".")
    assert detail_of(error(detail="more is known"), Settings()) == "more is known"
    assert str(error("for the log")) == "for the log"


def test_each_system_code_and_each_http_fault_has_a_plain_sentence() -> None:
    told = [*(code.sentence for code in SystemCode), *HTTP_SENTENCES.values()]
    for sentence in told[1:]:
        assert 10 < len(sentence) < 120
        assert not sentence.endswith(".")


def test_a_sentence_tells_the_limit_that_is_in_force() -> None:
    chosen = Settings(topk_limit=7, topk_default=7, images_per_product=0, deletions_per_call=0)
    assert detail_of(errors.SearchTopkExceedLimit, chosen) == "topk may be 7 at most"
    most = detail_of(errors.ImageNumExceedPerProductLimit, chosen)
    assert most == f"a product may have {MOST_IMAGES} images; delete one first"
    assert "delete any number of images" in detail_of(errors.ImageNumExceedTotalLimit, chosen)


@pytest.mark.parametrize("text", ["a" * 1_000, "\x00\x1b[2J", "\ud800", "商" * 65, "\u202e"])
def test_an_echo_is_short_and_printable(text: str) -> None:
    shown = echo(text)
    assert 0 < len(shown) <= ECHO_CHARACTERS
    assert shown.isprintable()
    shown.encode()


def test_a_value_is_told_by_its_kind() -> None:
    values = (None, True, 5, 5.5, "", "abc", [1], {"a": 1}, 10**99)
    assert [kind_of(value) for value in values[:-1]] == [
        *("missing or null", "true", "5", "5.5", "an empty string", "a string of 3 characters"),
        *("a list", "an object"),
    ]
    assert len(kind_of(values[-1])) == ECHO_CHARACTERS


def test_a_call_without_a_key_is_told_what_to_send(gated: FlaskClient) -> None:
    assert "Bearer" in refusal(gated, {})
    assert "Bearer KEY" in refusal(gated, {"Authorization": "Bearer "})
    assert "JDCLOUD3-HMAC-SHA256" in refusal(gated, {"Authorization": "Basic YTpi"})
    text = "JDCLOUD3-HMAC-SHA256 Credential=AK/1/r/s, SignedHeaders=host, Signature=x"
    assert "jdcloud3_request" in refusal(gated, {"Authorization": text})


def test_a_key_that_is_not_known_is_not_repeated(gated: FlaskClient, signed: SignedBy) -> None:
    told = refusal(gated, bearer("snapsku_SEKRET"))
    other = dataclasses.replace(signed, access_key="SEKRET")
    assert told == refusal(gated, other(PATH, b"{}")) == SystemCode.UNKNOWN_ACCESS_KEY.sentence


def test_a_date_that_is_off_is_told_with_the_clock_of_the_service(
    gated: FlaskClient, signed: SignedBy
) -> None:
    headers = signed(PATH, b"{}")
    late = dataclasses.replace(signed, date=NOW - timedelta(hours=1))
    assert "20261122T120000Z" in refusal(gated, late(PATH, b"{}"))
    assert "YYYYMMDDTHHMMSSZ" in refusal(
        gated, {n: v for n, v in headers.items() if n != "x-jdcloud-date"}
    )
    assert "20190214T104514Z" in refusal(gated, headers | {"x-jdcloud-date": "yesterday"})


def test_a_bad_signature_is_told_by_the_rule_that_failed_and_never_by_the_right_one(
    gated: FlaskClient, signed: SignedBy
) -> None:
    target = f"{PATH}?token=SEKRET"
    forged = dataclasses.replace(signed, secret="other")(target, b"{}")
    told = refusal(gated, forged, target)
    assert told == (
        "the signature does not match the canonical request; method and path are POST "
        "/v1/add_image, signed headers x-jdcloud-date;x-jdcloud-nonce"
    )
    right = signed(target, b"{}", **{"x-jdcloud-nonce": forged["x-jdcloud-nonce"]})
    for headers in (forged, right):
        assert headers["Authorization"].rpartition("=")[2] not in told
    other_day = dataclasses.replace(signed, day="20261121")
    assert "the day in the credential" in refusal(gated, other_day(PATH, b"{}"))
    headers = signed(PATH, b"{}", **{"x-more": "1"})
    del headers["x-more"]
    assert "a header that is signed was not sent" in refusal(gated, headers)
    long = {f"x-more-{number}": "1" for number in range(40)}
    assert len(refusal(gated, forged | signed("/else", b"{}", **long))) < 300


def test_a_repeat_is_told_what_was_used(gated: FlaskClient, signed: SignedBy) -> None:
    for without, what in (("", "the x-jdcloud-nonce"), ("x-jdcloud-nonce", "the signature")):
        headers = dataclasses.replace(signed, without=without)(PATH, b"{}")
        gated.post(PATH, data=b"{}", headers=headers)
        assert refusal(gated, headers).startswith(f"{what} was used before; ")


def test_before_any_key_a_call_from_elsewhere_is_told_why_it_is_one(
    gated: FlaskClient, rows: Rows
) -> None:
    rows.keys.clear()
    told = refusal(gated, {"X-Forwarded-For": "10.1.2.3"})
    assert told.startswith("the call came through a proxy")
    assert "10.1.2.3" not in told


def test_a_caller_over_a_quota_is_told_for_how_long(
    make_services: MakeServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = make_services()
    client = create_app(services).test_client()
    for code in (SystemCode.QUOTA_USED_UP, SystemCode.OVER_QPS):
        monkeypatch.setattr(services.quotas, "charge", lambda *_, of=code: Charge(0, of, 77))
        told = refusal(client, {})
        assert told == f"{code.sentence}, 77 s"


def test_a_busy_service_says_why_and_names_no_host(
    gated: FlaskClient, make_services: MakeServices
) -> None:
    services = make_services(disk_free_bytes=2**62)
    with pytest.raises(Exception, match=r"too little disk is free: this machine") as raised:
        services.backlog.check()
    told = "too little disk is free; try again after 30 s"
    assert getattr(raised.value, "detail", None) == told


def test_what_is_no_operation_is_told_where_they_are_listed(gated: FlaskClient) -> None:
    def detail(method: str, path: str, **sent: Any) -> str:
        response = gated.open(path, method=method, headers=bearer(API_KEY), **sent)
        return str(envelope(response)["result"]["detail"])

    assert detail("POST", "/v1/no") == "no such path; operations are listed at /openapi.json"
    assert detail("GET", PATH) == "the path takes POST alone"
    assert detail("POST", PATH, data=b"x" * 10_001).startswith("the body may have 10000 bytes")
    whole = "/v1/picture?collection_name=c&product_id=&image_id=i"
    assert detail("GET", whole) == "no such picture, or it was not kept"
    told = "the query has no product_id, no image_id"
    assert detail("GET", "/v1/picture?collection_name=c") == told
