"""A client that goes on through faults: it repeats a call until it is answered, as real ones do.

An attempt whose answer got lost, or that was turned away halfway, may have been carried
out or may be at any time later; the reply says whether there was one.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import requests
from urllib3.exceptions import NewConnectionError

#: One attempt; shorter than the longest pause of a process, so that answers get lost.
ATTEMPT_SECONDS = 7.0
CONNECT_SECONDS = 2.0
#: Business codes that stand for a fault of the service.
FAULTS = frozenset({3008, 3018, 3030, 3033, 3034, 5000})
FAULT_MESSAGES = frozenset({"SEARCH_PRODUCT_IMAGE_ERROR", "DELETE_IMAGE_ERROR"})
RETRY_SECONDS = 0.4


@dataclass(frozen=True)
class Reply:
    """The answer to a call; times are of `time.monotonic()`."""

    result: dict[str, Any] | None  #: None where none came in time
    unclear: bool  #: an attempt before it may have been carried out, or will be
    started: float  #: of the first attempt
    last_started: float  #: of the attempt that was answered
    ended: float

    @property
    def code(self) -> int | None:
        """The business code, None without an answer."""
        return None if self.result is None else self.result["code"]


class ChaosClient:
    """Calls of the contract through every fault; for one thread."""

    def __init__(
        self,
        base_url: str,
        attempts: Counter[str] | None = None,
        begins: Callable[[str], None] | None = None,
    ) -> None:
        """`attempts` counts how attempts ended; `begins` is told of each before it is sent."""
        self._base_url = base_url
        self._attempts = Counter[str]() if attempts is None else attempts
        self._begins = begins or (lambda _: None)
        self._session = requests.Session()
        self._session.trust_env = False

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def call(
        self,
        operation: str,
        body: dict[str, Any],
        seconds: float = 45.0,
        headers: dict[str, str] | None = None,
    ) -> Reply:
        """Call until an answer comes, for about so many seconds."""
        started = last = time.monotonic()
        unclear = False
        while time.monotonic() - started < seconds:
            last = time.monotonic()
            ended, result = self._attempt(operation, body, headers)
            self._attempts[ended] += 1
            if result is not None:
                return Reply(result, unclear, started, last, time.monotonic())
            unclear = unclear or ended != "refused"
            time.sleep(RETRY_SECONDS)
        return Reply(None, unclear, started, last, time.monotonic())

    def _attempt(
        self, operation: str, body: dict[str, Any], headers: dict[str, str] | None
    ) -> tuple[str, dict[str, Any] | None]:
        self._begins(operation)
        try:
            response = self._session.post(
                f"{self._base_url}/v1/{operation}",
                json=body,
                headers=headers,
                timeout=(CONNECT_SECONDS, ATTEMPT_SECONDS),
            )
            answer = response.json()
        except requests.ConnectTimeout:
            return "refused", None
        except requests.ConnectionError as error:
            return ("refused" if _never_sent(error) else "cut off"), None
        except requests.Timeout:
            return "too late", None
        except requests.RequestException:
            return "cut off", None
        if answer["code"] == "10020":
            return "busy", None
        assert answer["code"] == "10000", answer
        result: dict[str, Any] = answer["result"]
        if result["code"] in FAULTS or result["message"] in FAULT_MESSAGES:
            return f"fault {operation} {result['message']}", None
        return "answered", result


def _never_sent(error: requests.ConnectionError) -> bool:
    reason = getattr(error.args[0], "reason", None) if error.args else None
    return isinstance(reason, NewConnectionError)
