"""The thread that renews a lease: until when, and what becomes of faults."""

from __future__ import annotations

import queue
import threading

import pytest
import structlog
from pymongo.errors import AutoReconnect, PyMongoError

from catalog.database.renewal import Renewal

PAUSE = 0.01

#: A test that waits so long has failed; seconds.
PATIENCE = 30


def no_fault(error: PyMongoError) -> None:
    pytest.fail(str(error))


def running() -> list[str]:
    return [thread.name for thread in threading.enumerate()]


def test_a_lease_is_renewed_again_and_again_until_the_holder_is_done() -> None:
    turns: queue.Queue[None] = queue.Queue()

    def renew() -> bool:
        turns.put(None)
        return True

    with Renewal("lease of a test", PAUSE, renew, no_fault):
        for _ in range(3):
            turns.get(timeout=PATIENCE)
        assert "lease of a test" in running()
    assert "lease of a test" not in running()


def test_a_lease_that_is_lost_is_not_renewed_again() -> None:
    turns: list[None] = []

    def renew() -> bool:
        turns.append(None)
        return len(turns) < 2

    renewal = Renewal("lease of a test", PAUSE, renew, no_fault)
    renewal.start()
    assert renewal._thread is not None
    renewal._thread.join(PATIENCE)
    assert len(turns) == 2
    renewal.stop()


def test_a_fault_is_told_and_the_next_turn_tries_again() -> None:
    told: list[PyMongoError] = []
    renewed = threading.Event()

    def renew() -> bool:
        if len(told) < 2:
            raise AutoReconnect(f"down {len(told)}")
        renewed.set()
        return True

    with Renewal("lease of a test", PAUSE, renew, told.append):
        assert renewed.wait(PATIENCE)
    assert [str(error) for error in told] == ["down 0", "down 1"]


def test_a_stop_waits_no_longer_for_a_renewal_under_way_than_it_is_told() -> None:
    begun, over = threading.Event(), threading.Event()

    def renew() -> bool:
        begun.set()
        return over.wait(PATIENCE)

    renewal = Renewal("lease of a test", PAUSE, renew, no_fault)
    renewal.start()
    assert begun.wait(PATIENCE)
    renewal.stop(PAUSE)
    assert "lease of a test" in running()
    over.set()
    renewal.stop()
    assert "lease of a test" not in running()


def test_one_that_never_started_can_be_stopped() -> None:
    Renewal("lease of a test", PAUSE, bool, no_fault).stop()


def test_a_renewal_has_the_log_ids_of_the_code_that_started_it() -> None:
    ids: queue.Queue[dict[str, object]] = queue.Queue()

    def renew() -> bool:
        ids.put(structlog.contextvars.get_contextvars())
        return True

    with (
        structlog.contextvars.bound_contextvars(chunk="c"),
        Renewal("lease of a test", PAUSE, renew, no_fault),
    ):
        assert ids.get(timeout=PATIENCE)["chunk"] == "c"
