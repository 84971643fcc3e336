"""Some hundred calls made of /openapi.json; `make fuzz` sends as many as one likes."""

from __future__ import annotations

from tests.integration.operations.fuzz_calls import fuzz
from tests.integration.operations.raw_client import Served

CALLS = 400


def test_every_answer_to_a_made_up_call_is_as_the_document_says(served: Served) -> None:
    outcome = fuzz(served.url, CALLS, seconds=250)
    assert not outcome.faults, "\n".join(outcome.faults)
    assert outcome.calls > CALLS // 4
    assert {status for status, _, _ in outcome.codes} >= {200, 400}
    assert (200, "10000", 0) in outcome.codes, "some calls succeed"
