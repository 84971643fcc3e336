"""What the details of an answer have to be, whatever the operation."""

from __future__ import annotations

from typing import Any

#: Most characters of a detail: a sentence and no more, whatever was sent.
DETAIL_CHARACTERS = 400


def has_details(body: dict[str, Any]) -> bool:
    """Whether each fault that is answered has its sentence, and nothing else has one."""
    result = body.get("result")
    if result is None:
        return is_sentence(body.get("detail"))
    if "detail" in body or ("detail" in result) != (result["code"] != 0):
        return False
    details = [result["detail"]] if result["code"] else []
    # Of an image whose row is gone, task_status knows no more than the message.
    for item in () if "task_status" in result else result.get("failed_list", ()):
        if isinstance(item["message"], list):
            if len(item["detail"]) != len(item["message"]):
                return False
            details += item["detail"]
        else:
            details.append(item["detail"])
    return all(map(is_sentence, details))


def is_sentence(detail: Any) -> bool:
    """Whether it is a text of some length, without a value that was never filled in."""
    return isinstance(detail, str) and 0 < len(detail) <= DETAIL_CHARACTERS and "{" not in detail
