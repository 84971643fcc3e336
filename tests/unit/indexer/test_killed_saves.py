"""A process that is killed while it saves leaves a whole snapshot."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from indexer.hnsw.index import VectorIndex
from indexer.hnsw.options import IndexOptions
from indexer.hnsw.snapshots.directory import SnapshotDirectory
from indexer.key import SetKey

ROOT = Path(__file__).resolve().parents[3]
OPTIONS = IndexOptions(dimensions=32, shard_capacity=100)

SAVES_FOR_EVER = """
import sys
from pathlib import Path
import numpy as np
from indexer.hnsw.index import VectorIndex
from indexer.key import SetKey
from indexer.hnsw.options import IndexOptions
from indexer.hnsw.snapshots.directory import SnapshotDirectory

key, options = SetKey("1f", "x"), IndexOptions(dimensions=32, shard_capacity=100, exact_up_to=50)
index = VectorIndex(options, SnapshotDirectory(Path(sys.argv[1]), "model", options))
vectors = np.random.default_rng(1).standard_normal((5_000, 32)).astype(np.float32)
vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
for start in range(0, 5_000, 30):
    index.add(key, range(start + 1, start + 31), vectors[start : start + 30])
    assert index.save(key)
    print(index.count(key), flush=True)
"""


def test_a_process_killed_at_any_moment_leaves_its_last_snapshot_or_the_next(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    key = SetKey("1f", "x")
    for number in range(6):
        path = tmp_path / str(number)
        with subprocess.Popen(
            [sys.executable, "-c", SAVES_FOR_EVER, str(path)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            for _ in range(number + 1):
                counted = int(process.stdout.readline())
            time.sleep(0.007 * number)
            process.kill()
            rest = process.stdout.read().split()
        counted = int(rest[-1]) if rest else counted
        index = VectorIndex(OPTIONS, SnapshotDirectory(path, "model", OPTIONS))
        index.now_ready(key)
        labels = index.live_labels(key)
        assert len(labels) in (counted, counted + 30)
        assert labels == set(range(1, len(labels) + 1))
    assert [one for one in caplog.records if one.levelname == "ERROR"] == []
