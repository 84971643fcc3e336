"""Asks the index process for neighbours as a search worker does; run with the stack's settings.

Reads questions from standard input, one JSON list: each has a generation, a category, k and
the label of a stored vector to ask with. Writes a JSON list of answers: [label, cosine] pairs.
"""

from __future__ import annotations

import json
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from pymongo import MongoClient

from config.settings import settings
from workers.index_process.neighbours import NoReplyError, ask_neighbours

THREADS = 4
#: A set that is loaded at this moment answers later.
PATIENCE_SECONDS = 15.0


def _ask(question: dict[str, Any], stored: dict[str, Any]) -> list[tuple[int, float]] | None:
    vectors = (
        np.frombuffer(stored["values"], "<f4")
        .reshape(stored.get("parts", 1), -1)
        .astype(np.float32)
    )
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        try:
            return ask_neighbours(
                f"audit-{uuid.uuid4().hex}",
                question["generation"],
                question["category"],
                stored["model_id"],
                vectors,
                question["k"],
                time.monotonic() + 5,
            )
        except NoReplyError:
            time.sleep(0.3)
    return None


def main() -> None:
    """Answer the questions."""
    questions: list[dict[str, Any]] = json.load(sys.stdin)
    chosen = settings()
    with MongoClient[dict[str, Any]](chosen.mongo_url.get_secret_value()) as client:
        table = client[f"{chosen.mongo_database}_blobs"]["vectors"]
        labels = sorted({question["label"] for question in questions})
        stored = {row["_id"]: row for row in table.find({"_id": {"$in": labels}})}
    with ThreadPoolExecutor(THREADS) as pool:
        answers = pool.map(lambda one: _ask(one, stored[one["label"]]), questions)
        json.dump(list(answers), sys.stdout)


if __name__ == "__main__":
    main()
