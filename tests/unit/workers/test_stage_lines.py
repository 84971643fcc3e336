"""Every log line of a stage says which task, chunk, stage and attempt it is about."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest
import structlog
from pymongo.errors import AutoReconnect
from structlog.testing import capture_logs

from catalog.rows.chunks import Chunk, Item, Stage
from config.settings import settings
from workers.support import stage
from workers.support.stage import run_stage

CHUNK = Chunk(
    id="chunk-1",
    task_id="task-1",
    collection="shop",
    generation="g-1",
    items=(Item(label=7, product_id="p", product_serial=1, image_id="i"),),
    stage=Stage.FETCH,
)
IDS = {"task_id": "task-1", "chunk": "chunk-1", "stage": "fetch", "attempt": 3}


class Chunks:
    """Stands for the rows: a claim succeeds, a renewal finds no database."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.handed_back = 0
        self.queues: list[str] = []

    def claim(self, *_: Any) -> Chunk:
        return CHUNK

    def renew(self, chunk: Chunk) -> bool:
        self.asked.set()
        raise AutoReconnect("gone")

    def hand_back(self, *_: Any, **__: Any) -> None:
        self.handed_back += 1


@pytest.fixture
def chunks(environment: pytest.MonkeyPatch) -> Chunks:
    environment.setenv("SNAPSKU_LEASE_RENEWAL_SECONDS", "0.05")
    settings.cache_clear()
    found = Chunks()
    environment.setattr(stage, "catalog", lambda: SimpleNamespace(chunks=found, client=None))
    environment.setattr(stage, "time_of", lambda _: None)
    environment.setattr(stage, "note_consumption", found.queues.append)
    return found


def test_all_lines_of_a_stage_carry_its_ids(chunks: Chunks) -> None:
    def work(chunk: Chunk) -> None:
        assert chunk is CHUNK
        structlog.get_logger("work").info("working", label=7)
        assert chunks.asked.wait(5)
        raise ValueError("a fault")

    with capture_logs(processors=[structlog.contextvars.merge_contextvars]) as lines:
        run_stage(Stage.FETCH, "chunk-1", 3, work)
    events = {line["event"] for line in lines}
    assert events == {"working", "lease not renewed", "stage failed, chunk handed back"}
    for line in lines:
        assert {name: line[name] for name in IDS} == IDS, line
    assert chunks.handed_back == 1
    assert set(chunks.queues) == {"fetch"}
    assert not IDS.keys() & structlog.contextvars.get_contextvars().keys()
