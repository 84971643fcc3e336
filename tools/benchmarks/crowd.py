"""Features of the distractors, stored on disk so that a long run can be resumed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import PIL

from tools.benchmarks import sets
from tools.benchmarks.evaluation import DETECTED, TRUE, describe_all, gallery_features

if TYPE_CHECKING:
    from vision.pipeline import Pipeline

#: The kinds of boxes; not the whole picture, which would take a fourth longer.
KINDS = (DETECTED, TRUE)
#: Pictures in a file, which a stopped run loses at most.
BLOCK = 100


def crowd_features(
    pipeline: Pipeline,
    count: int,
    objects: list[sets.Source],
    places: list[sets.Source],
    seed: int,
    folder: Path,
    progress: Callable[[int], None] = lambda _: None,
) -> dict[str, sets.Features]:
    """Return the features of the distractors, by kind of box; those in `folder` are reused.

    They are stored by model id and by a hash of everything that the pictures depend on, except
    the code: empty the folder after a change of how distractors are made.
    """
    depends = repr((seed, PIL.__version__, _names(objects), _names(places)))
    key = f"{pipeline.model_id}-{hashlib.sha256(depends.encode()).hexdigest()[:12]}"
    kept = folder / key
    kept.mkdir(parents=True, exist_ok=True)
    blocks = []
    for start in range(0, count, BLOCK):
        stop = min(start + BLOCK, count)
        path = kept / f"{start}-{stop}.npz"
        if not path.exists():
            scenes = sets.distractors(stop, objects, places, seed, start)
            described = describe_all(pipeline, scenes, kinds=KINDS, most=1)
            # Renamed when complete, so that an interrupted write is not read.
            partial = path.with_suffix(f".{os.getpid()}")
            with partial.open("wb") as file:
                np.savez(file, *(gallery_features(described, kind) for kind in KINDS))
            partial.replace(path)
        with np.load(path, allow_pickle=False) as saved:
            blocks.append([saved[name] for name in saved.files])
        progress(stop)
    return {
        kind: np.concatenate([block[place] for block in blocks]) for place, kind in enumerate(KINDS)
    }


def _names(sources: Sequence[sets.Source]) -> list[tuple[str, str]]:
    return [(source.package, source.name) for source in sources]
