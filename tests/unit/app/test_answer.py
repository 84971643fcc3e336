"""The envelope: its fields in their order, and what each system code answers with."""

from __future__ import annotations

import pytest

from app.http.envelope import SystemCode, not_served, refused, succeeded
from contract import errors
from tests.unit.app.standins import SYSTEM_FIELDS, strictly

CONTRACT = {
    "10000": 200,
    "10001": 401,
    "10020": 503,
    "10040": 429,
    "10041": 401,
    "10042": 401,
    "10043": 429,
    "10045": 401,
    "10046": 401,
    "10047": 401,
    "10050": 403,
}


def test_every_system_code_of_the_contract_has_its_status_and_no_other_is_there() -> None:
    assert {code.code: code.status for code in SystemCode} == CONTRACT


def test_system_codes_have_meanings_of_their_own() -> None:
    assert len({code.meaning for code in SystemCode}) == len(SystemCode)
    assert SystemCode.HANDLED.meaning == "查询成功"


def test_a_success_has_the_fields_in_the_order_of_the_contract() -> None:
    response = succeeded(task_id="1001/小店/1", failed_list=[])
    assert response.status_code == 200
    assert response.content_type == "application/json; charset=utf-8"
    body = strictly(response.data)
    assert body["requestId"] == response.headers["X-Request-Id"]
    assert list(body) == [*SYSTEM_FIELDS, "result", "requestId"]
    del body["requestId"]
    assert list(body["result"]) == ["code", "message", "task_id", "failed_list"]
    assert body == {
        "code": "10000",
        "charge": False,
        "remainTimes": -1,
        "remainSeconds": -1,
        "msg": "查询成功",
        "result": {
            "code": 0,
            "message": "SUCCESS",
            "task_id": "1001/小店/1",
            "failed_list": [],
        },
    }


def test_chinese_is_sent_as_it_is() -> None:
    assert "小店".encode() in succeeded(name="小店").data


def test_a_business_error_is_a_handled_call() -> None:
    response = refused(errors.NoInvalidImage, "none was taken", failed_list=[1])
    assert response.status_code == 200
    body = strictly(response.data)
    assert body["code"] == "10000"
    assert body["result"] == {
        "code": 3019,
        "message": "NO_INVALID_IMAGE",
        "detail": "none was taken",
        "failed_list": [1],
    }


def test_a_few_faults_have_another_status() -> None:
    response = refused(errors.ImageSizeExceedLimit, "too large", status=413)
    assert response.status_code == 413
    assert strictly(response.data)["code"] == "10000"


@pytest.mark.parametrize("code", [c for c in SystemCode if c is not SystemCode.HANDLED])
def test_a_call_that_was_not_handled_has_no_result(code: SystemCode) -> None:
    response = not_served(code)
    assert response.status_code == CONTRACT[code.code]
    body = strictly(response.data)
    assert list(body) == [*SYSTEM_FIELDS, "detail", "requestId"]
    assert (body["code"], body["msg"]) == (code.code, code.meaning)
    assert body["detail"] == code.sentence != ""
    assert strictly(not_served(code, "another").data)["detail"] == "another"


@pytest.mark.parametrize("code", [c for c in SystemCode if c is not SystemCode.HANDLED])
def test_only_busy_quota_and_rate_say_when_to_come_back(code: SystemCode) -> None:
    waits = code in (SystemCode.BUSY, SystemCode.QUOTA_USED_UP, SystemCode.OVER_QPS)
    header = not_served(code).headers.get("Retry-After")
    assert (header is not None and int(header) > 0) == waits


def test_half_a_surrogate_pair_does_not_break_an_answer() -> None:
    response = refused(
        errors.NoInvalidImage, "x", failed_list=[{"image_id": "a\ud800b", "\udfff": 1}]
    )
    assert strictly(response.data)["result"]["failed_list"] == [{"image_id": "a?b", "?": 1}]
