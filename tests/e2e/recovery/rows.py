"""What the rows of a running stack say, to meet it in the middle of its work and to look after."""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import Any

from pymongo import MongoClient


class Rows:
    """The rows of the stack's database."""

    def __init__(self, client: MongoClient[dict[str, Any]], name: str) -> None:
        self._rows, self._blobs = client[name], client[f"{name}_blobs"]

    def chunks(self, task_id: str) -> list[dict[str, Any]]:
        task = self._rows["tasks"].find_one({"_id": task_id})
        assert task is not None
        return list(self._rows["chunks"].find({"_id": {"$in": task["chunk_ids"]}}))

    def states(self, task_id: str) -> set[tuple[str, str]]:
        """Return stage and state of the chunks of a task."""
        return {(row["stage"], row["state"]) for row in self.chunks(task_id)}

    def vectors(self) -> set[int]:
        """The labels of every vector that is written."""
        return {row["_id"] for row in self._blobs["vectors"].find({}, ["_id"])}

    def outcomes(self, labels: Collection[int]) -> list[str | None]:
        """Return the outcomes of images; None stands for one without an outcome yet."""
        found = self._rows["images"].find({"_id": {"$in": list(labels)}}, ["outcome"])
        return [row["outcome"] for row in found]

    def await_work(self, task_id: str, stage: str, seconds: float = 120) -> None:
        """Wait until a chunk of the task is in the middle of this stage."""
        deadline = time.monotonic() + seconds
        while (stage, "running") not in self.states(task_id):
            assert time.monotonic() < deadline, self.states(task_id)
            time.sleep(0.005)

    def await_vectors(self, count: int, seconds: float = 240) -> None:
        """Wait until so many vectors are written in all."""
        deadline = time.monotonic() + seconds
        while len(self.vectors()) < count:
            assert time.monotonic() < deadline, len(self.vectors())
            time.sleep(0.02)
