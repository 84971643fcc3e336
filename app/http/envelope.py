"""The envelope of every answer, and the system codes in it.

Business codes are `contract.errors`; this module says how one becomes an HTTP answer.
"""

from __future__ import annotations

import json
import uuid
from enum import Enum
from typing import Any

from flask import Response, g, has_app_context

from app.http.headers import REQUEST_ID_HEADER
from contract.errors import ContractError

#: Retry-After of an answer that says busy, unless it names another time.
RETRY_AFTER_SECONDS = 2

#: remainTimes if there is no daily quota, or it is unknown.
UNLIMITED = -1


class SystemCode(Enum):
    """The system codes: code, HTTP status, the message that clients know, and a plain sentence.

    The sentence says what is wrong and what would do, where the fault itself says no more.
    """

    HANDLED = ("10000", 200, "查询成功", "")
    UNKNOWN_ACCESS_KEY = (
        *("10001", 401, "错误的请求appkey"),
        "the key is not known, or was replaced; the operator can tell or make one",
    )
    BUSY = (
        *("10020", 503, "系统繁忙，请稍后再试"),
        "a server that the service needs can't be used now; try again after Retry-After",
    )
    QUOTA_USED_UP = (
        *("10040", 429, "超过每天限量"),
        "the calls of the day are used up; try again after Retry-After",
    )
    TIMESTAMP_MISSING = (
        *("10041", 401, "缺少timestamp参数"),
        "send the time in the header x-jdcloud-date, as YYYYMMDDTHHMMSSZ in UTC",
    )
    SIGNATURE_MISSING = (
        *("10042", 401, "缺少签名"),
        "send the header Authorization, with a signature or with Bearer and an API key",
    )
    OVER_QPS = (
        *("10043", 429, "超过QPS限制"),
        "more calls in a second than allowed; try again after Retry-After",
    )
    TIMESTAMP_TOO_FAR_OFF = (
        *("10045", 401, "timestamp与当前时间相差超过5分钟"),
        "x-jdcloud-date is more than 5 minutes off; set the clock",
    )
    TIMESTAMP_MALFORMED = (
        *("10046", 401, "timestamp格式错误"),
        "x-jdcloud-date must be as 20190214T104514Z, in UTC",
    )
    SIGNATURE_INVALID = (
        *("10047", 401, "签名无效"),
        "the signature is not that of this request",
    )
    USER_DISABLED = (
        *("10050", 403, "用户已被禁用"),
        "the user is disabled; the operator can enable it",
    )

    def __init__(self, code: str, status: int, meaning: str, sentence: str) -> None:
        self.code = code
        self.status = status
        self.meaning = meaning
        self.sentence = sentence


class Refused(Exception):
    """An operation is refused as a whole, and its result carries fields besides the code."""

    def __init__(self, error: type[ContractError], **fields: Any) -> None:
        super().__init__(error.message)
        self.error = error
        self.fields = fields


class Busy(Exception):
    """An operation can't be served now; the client is told the reason, and to try again later."""

    def __init__(
        self, reason: str, retry_after_seconds: int = RETRY_AFTER_SECONDS, *, log_detail: str = ""
    ) -> None:
        super().__init__(f"{reason}: {log_detail}" if log_detail else reason)
        self.detail = f"{reason}; try again after {retry_after_seconds} s"
        self.retry_after_seconds = retry_after_seconds


def succeeded(retry_after_seconds: int | None = None, /, **fields: Any) -> Response:
    """Return the answer of an operation that succeeded; `fields` go into its result.

    `retry_after_seconds` is when to ask again for what is not finished.
    """
    response = _envelope(SystemCode.HANDLED, {"code": 0, "message": "SUCCESS", **fields})
    if retry_after_seconds is not None:
        response.headers["Retry-After"] = str(retry_after_seconds)
    return response


def refused(
    error: type[ContractError],
    detail: str,
    *,
    status: int = SystemCode.HANDLED.status,
    **fields: Any,
) -> Response:
    """Return the answer with a business code; `status` is other than 200 for HTTP faults alone.

    `app.http.details` makes the detail.
    """
    result = {"code": error.code, "message": error.message, "detail": detail, **fields}
    return _envelope(SystemCode.HANDLED, result, status)


def not_served(
    code: SystemCode, detail: str = "", retry_after_seconds: int = RETRY_AFTER_SECONDS
) -> Response:
    """Return the answer to a call that was not handled at all.

    Without a `detail` it has the sentence of the code. `retry_after_seconds` is sent with the
    statuses 429 and 503.
    """
    response = _envelope(code, None, detail=detail or code.sentence)
    if code.status in (429, 503):
        response.headers["Retry-After"] = str(retry_after_seconds)
    if code.status == 401:
        response.headers["WWW-Authenticate"] = 'Bearer realm="snapsku"'
    return response


def _envelope(
    code: SystemCode,
    result: dict[str, Any] | None,
    status: int | None = None,
    *,
    detail: str = "",
) -> Response:
    # A request that never reached the application has no id yet.
    request_id = (g.get("request_id") if has_app_context() else None) or uuid.uuid4().hex
    body: dict[str, Any] = {
        "code": code.code,
        "charge": False,
        "remainTimes": g.get("remaining", UNLIMITED) if has_app_context() else UNLIMITED,
        "remainSeconds": -1,
        "msg": code.meaning,
    }
    if result is None:
        body["detail"] = detail
    else:
        body["result"] = result
    # Where it is missing, the vendor's jdcloud-sdk drops the result.
    body["requestId"] = request_id
    # What a client sent is echoed in failed_list; half a surrogate pair has no UTF-8.
    text = json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")
    response = Response(text, status or code.status, content_type="application/json; charset=utf-8")
    response.headers[REQUEST_ID_HEADER] = request_id
    return response
