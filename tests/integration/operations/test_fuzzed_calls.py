"""Some hundred calls made of /openapi.json; `make fuzz` sends as many as one likes."""

from __future__ import annotations

import gc
import warnings

import pytest
from fuzz_calls import fuzz
from raw_client import Served

CALLS = 400


@pytest.fixture
def swept() -> None:
    """Nothing that tests before this one left to the garbage collector is found in its midst.

    It makes so many objects that the collector runs in it, and a socket of theirs would be
    told as this one's.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.mark.usefixtures("swept")
def test_every_answer_to_a_made_up_call_is_as_the_document_says(served: Served) -> None:
    outcome = fuzz(served.url, CALLS, seconds=45)
    assert not outcome.faults, "\n".join(outcome.faults)
    assert outcome.calls > CALLS // 4
    assert {status for status, _, _ in outcome.codes} >= {200, 400}
    assert (200, "10000", 0) in outcome.codes, "some calls succeed"
