"""Calls that schemathesis makes of /openapi.json, good ones and bad ones, sent to a running API.

Every answer must be the envelope, valid against the document, and none may be a fault of ours.
By hand: `make fuzz CALLS=10000 URL=http://127.0.0.1:8000`.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import os
import sys
import time
import warnings
from collections import Counter
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import hypothesis
import requests
import schemathesis
from hypothesis import HealthCheck, Phase
from hypothesis import strategies as st
from PIL import Image
from schemathesis import GenerationMode
from schemathesis.checks import load_all_checks
from schemathesis.core.failures import FailureGroup
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.answer_details import has_details

CHECKS = [
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
]

#: Names that are there, so that calls get further than to "no such collection".
KNOWN = {
    "collection_name": ["fuzz 1", "fuzz 2"],
    "product_id": ["p1", "p2"],
    "image_id": ["i1", "i2", "i3"],
    "category": ["服装", "其他"],
}

#: The envelope of the contract, besides `result`.
ENVELOPE = {"code", "charge", "remainTimes", "remainSeconds", "msg", "requestId"}

#: Failures that are told in full.
TOLD = 20


@dataclass
class Outcome:
    """What came of the calls so far."""

    calls: int = 0
    codes: Counter[tuple[int, str, int | None]] = field(default_factory=Counter)
    slowest: float = 0.0
    faults: list[str] = field(default_factory=list)


def picture(side: int = 201) -> str:
    held = io.BytesIO()
    Image.new("RGB", (side, side), (side % 256, 120, 30)).save(held, "PNG")
    return base64.b64encode(held.getvalue()).decode()


def with_known(body: Any, known: dict[str, list[str]], choose: Any) -> Any:
    """Put names that are there into some of the places for them."""
    if isinstance(body, dict):
        return {
            name: choose.choice(known[name])
            if name in known and choose.random() < 0.6
            else with_known(value, known, choose)
            for name, value in body.items()
        }
    if isinstance(body, list):
        return [with_known(item, known, choose) for item in body]
    return body


def envelope_fault(response: Any) -> str | None:
    """What is wrong with an answer, whatever its operation."""
    try:
        body = response.json()
    except ValueError:
        return "not JSON"
    if not isinstance(body, dict) or set(body) - {"result", "detail"} != ENVELOPE:
        return "not the envelope"
    if response.status_code == 500 or (body.get("result") or {}).get("code") == 5000:
        return "a fault of ours"
    if (body["code"] == "10000") != ("result" in body):
        return "a result without a call that was handled, or none with one"
    if not response.headers.get("x-request-id"):
        return "no request id"
    return None if has_details(body) else "a fault without a detail, or a detail without a fault"


def prepare(url: str, session: requests.Session) -> None:
    """Make the collections and products that valid calls name."""
    for name in KNOWN["collection_name"]:
        products = [
            {"product_id": one, "product_name": "n", "category": KNOWN["category"][0]}
            for one in KNOWN["product_id"]
        ]
        session.post(
            f"{url}/v1/create_product",
            json={"collection_name": name, "product_list": products},
            timeout=30,
        )


def fuzz(
    url: str, calls: int, seed: int = 1, headers: dict[str, str] | None = None, seconds: float = 1e9
) -> Outcome:
    """Send so many calls, spread over all operations, good and bad ones in turn."""
    load_all_checks()
    until = time.monotonic() + seconds
    outcome = Outcome()
    known = {**KNOWN, "image_content": [picture(), picture(300), "http://127.0.0.1:9/x.png", "x"]}
    with requests.Session() as session:
        session.trust_env = False
        session.headers.update(headers or {})
        document = session.get(f"{url}/openapi.json", timeout=30).json()
        told = schemathesis.openapi.from_dict(document).get_all_operations()
        # Health and pictures are no operations: they answer a GET, with what they are.
        operations = [one for one in map(_operation, told) if one.method == "post"]
        each = max(1, min(40, calls // (2 * len(operations))))
        for turn in count():
            for number, operation in enumerate(operations):
                prepare(url, session)
                for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
                    if outcome.calls >= calls or time.monotonic() > until:
                        return outcome

                    @hypothesis.seed(seed * 1_000_003 + turn * 1_009 + number)
                    @hypothesis.settings(
                        max_examples=min(each, calls - outcome.calls),
                        database=None,
                        deadline=None,
                        phases=[Phase.generate],
                        suppress_health_check=list(HealthCheck),
                    )
                    @hypothesis.given(operation.as_strategy(generation_mode=mode), st.randoms())
                    def one(case: Any, choose: Any) -> None:
                        case.body = with_known(case.body, known, choose)
                        _send(case, url, session, outcome)

                    one()
    return outcome


def _operation(found: Any) -> Any:
    assert isinstance(found, Ok), found
    return found.ok()


def _send(case: Any, url: str, session: requests.Session, outcome: Outcome) -> None:
    began = time.monotonic()
    try:
        answer = case.call(base_url=url, session=session, timeout=60)
    except requests.RequestException as lost:
        outcome.calls += 1
        outcome.faults.append(f"{case.operation.label}: {lost!r} to {case.body!r:.500}")
        return
    outcome.calls += 1
    outcome.slowest = max(outcome.slowest, time.monotonic() - began)
    fault = envelope_fault(answer)
    if fault is None:
        body = answer.json()
        result = body.get("result") or {}
        outcome.codes[answer.status_code, body["code"], result.get("code")] += 1
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                case.validate_response(answer, checks=CHECKS)
        except (AssertionError, FailureGroup) as failure:
            shown = getattr(failure, "exceptions", [failure])
            fault = "; ".join(f"{type(one).__name__} {one}" for one in shown)[:600]
    if fault is not None:
        outcome.faults.append(
            f"{case.operation.label}: {fault}: {answer.status_code} {answer.content[:300]!r} "
            f"to {json.dumps(case.body, default=repr)[:500]}"
        )


def main() -> int:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--url", default="http://127.0.0.1:8000")
    asked.add_argument("--calls", type=int, default=10_000)
    asked.add_argument("--seed", type=int, default=1)
    options = asked.parse_args()
    key = os.environ.get("FUZZ_API_KEY")
    began = time.monotonic()
    headers = {"Authorization": f"Bearer {key}"} if key else None
    outcome = fuzz(options.url, options.calls, options.seed, headers)
    for (status, code, business), number in sorted(outcome.codes.items(), key=str):
        print(f"{number:6} {status} {code} {business}")
    for fault in outcome.faults[:TOLD]:
        print(fault)
    print(
        f"{outcome.calls} calls in {time.monotonic() - began:.0f} s, "
        f"the slowest {outcome.slowest:.2f} s: {len(outcome.faults)} wrong answers"
    )
    return 1 if outcome.faults else 0


if __name__ == "__main__":
    sys.exit(main())
