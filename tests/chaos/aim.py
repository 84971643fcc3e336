"""Aiming: a fault that waits for the middle of something, since most of a second is between things.

A call of the API takes some milliseconds and so does the index stage; faults at moments of
pure chance would hardly ever meet them.
"""

from __future__ import annotations

import threading
import time

from pymongo.errors import PyMongoError

from tests.chaos.servers import DATABASE, Plant, mongo_client

#: Calls that write.
WRITES = frozenset({"add_image", "create_product", "delete_image", "delete_product"}) | {
    "delete_collection"
}
STAGES = ("fetch", "vision", "index")
#: The longest wait for the moment, seconds.
PATIENCE_SECONDS = 3.0
LOOK_SECONDS = 0.003


class Bell:
    """Rung by the clients whenever they begin a call."""

    def __init__(self) -> None:
        self._rung = threading.Condition()
        self._writes = 0

    def ring(self, operation: str) -> None:
        """Tell that a call begins."""
        if operation in WRITES:
            with self._rung:
                self._writes += 1
                self._rung.notify_all()

    def wait(self) -> None:
        """Wait for the beginning of the next call that writes, not for ever."""
        with self._rung:
            before = self._writes
            self._rung.wait_for(lambda: self._writes > before, PATIENCE_SECONDS)


def await_work(plant: Plant, stage: str) -> None:
    """Wait until a chunk is worked on in this stage, not for ever."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    try:
        with mongo_client(plant.mongo_url) as client:
            chunks = client[DATABASE]["chunks"]
            while time.monotonic() < deadline:
                if chunks.find_one({"state": "running", "stage": stage}, ["_id"]):
                    return
                time.sleep(LOOK_SECONDS)
    except PyMongoError:
        return
