"""Features of pictures in a file, so that they are computed once and a run can be stopped."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tools.benchmarks.retrieval.features import Described, describe
from vision.box import Box

if TYPE_CHECKING:
    from tools.benchmarks.retrieval.pictures import Picture
    from vision.pipeline import Pipeline

#: Pictures between two writes, which a stopped run loses at most.
BLOCK = 50
TABLE = """
    create table if not exists described (
        model text, picture text, boxes text, truths text, rows blob, milliseconds real,
        primary key (model, picture)
    ) without rowid
"""


class FeatureStore:
    """The features that a model makes of pictures, by the keys of these."""

    def __init__(self, pipeline: Pipeline, path: Path) -> None:
        """Open the file at `path`, which may be shared by models, and is made if it is missing."""
        self._pipeline = pipeline
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = sqlite3.connect(path, timeout=60)
        self._file.execute(TABLE)
        self._known: dict[str, Described] = {}

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def described(
        self, pictures: Sequence[Picture], progress: Callable[[int], None] = lambda _: None
    ) -> list[Described]:
        """Return the features of pictures; those that are not stored are computed and stored."""
        try:
            for number, picture in enumerate(pictures, start=1):
                if picture.key not in self._known:
                    self._known[picture.key] = self._read(picture) or self._made(picture)
                if number % BLOCK == 0:
                    self._file.commit()
                    progress(number)
        finally:
            self._file.commit()
        return [self._known[picture.key] for picture in pictures]

    def _read(self, picture: Picture) -> Described | None:
        found = self._file.execute(
            "select boxes, truths, rows, milliseconds from described"
            " where model = ? and picture = ?",
            (self._pipeline.model_id, picture.key),
        ).fetchone()
        if found is None:
            return None
        boxes, truths = (tuple(Box(*box) for box in json.loads(text)) for text in found[:2])
        rows = np.frombuffer(found[2], np.float32).reshape(-1, self._pipeline.dimensions)
        count = len(boxes)
        return Described(
            boxes, rows[:count], rows[count : count + 1], truths, rows[count + 1 :], found[3]
        )

    def _made(self, picture: Picture) -> Described:
        made = describe(self._pipeline, picture.make())
        rows = np.concatenate([made.features, made.whole, made.true_features]).astype(np.float32)
        self._file.execute(
            "insert or replace into described values (?, ?, ?, ?, ?, ?)",
            (
                self._pipeline.model_id,
                picture.key,
                _packed(made.boxes),
                _packed(made.truths),
                rows.tobytes(),
                made.milliseconds,
            ),
        )
        return made


def _packed(boxes: Sequence[Box]) -> str:
    return json.dumps([[box.left, box.top, box.right, box.bottom] for box in boxes])
