"""Measures the memory of many small sets, with graphs and without, each in its own process.

    python -m tools.benchmarks.small_sets --sets 100000 --vectors 10

Graphs take 2 MB for each set, so they are measured with `--graphs` sets. At last, a process with
limited memory searches each of the saved sets once.
"""

from __future__ import annotations

import argparse
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
from numpy.typing import NDArray

from indexer.hnsw.index import VectorIndex
from indexer.hnsw.options import IndexOptions
from indexer.hnsw.snapshots.directory import SnapshotDirectory
from indexer.keeper import Keeper, KeeperOptions
from indexer.key import SetKey

MEGABYTE = 1e6
SEARCHES = 200
SAVES = 200


def main() -> None:
    """Measure sets with graphs, without them, and with limited memory, one after the other."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--sets", type=int, default=100_000)
    parser.add_argument("--graphs", type=int, default=500)
    parser.add_argument("--vectors", type=int, default=10)
    parser.add_argument("--dimensions", type=int, default=256)
    parser.add_argument("--memory-bytes", type=int, default=800_000_000)
    parser.add_argument("--exact-up-to", type=int, help="measure this alone, in this process")
    parser.add_argument("--folder", type=Path, help="search what is saved there, in this process")
    options = parser.parse_args()
    shape = IndexOptions(
        dimensions=options.dimensions,
        shard_capacity=100_000,
        exact_up_to=options.exact_up_to or 2_000,
    )
    if options.folder is not None:
        print(measure_bounded(options.folder, shape, options.memory_bytes))
        return
    if options.exact_up_to is not None:
        print(measure(options.sets, options.vectors, shape))
        return
    print(
        "| | sets | MB | of it numbers | kB a set beside them | µs to add | to search | to save |"
    )
    print("|---|---|---|---|---|---|---|---|", flush=True)
    vectors = ["--vectors", str(options.vectors), "--dimensions", str(options.dimensions)]
    for name, sets, exact_up_to in (("graph", options.graphs, 1), ("none", options.sets, 2_000)):
        bound = ["--sets", str(sets), "--exact-up-to", str(exact_up_to)]
        print(f"| {name} | {in_a_process(*vectors, *bound)}", flush=True)
    print("\n| MB of the bound | sets | MB when opened | at most | sets in memory | µs to search |")
    print("|---|---|---|---|---|---|", flush=True)
    with saved(options.sets, options.vectors, shape) as folder:
        bound = ["--folder", str(folder), "--memory-bytes", str(options.memory_bytes)]
        print(f"| {in_a_process(*vectors, *bound)}")


def in_a_process(*options: str) -> str:
    """Run this program with other options, and return its output."""
    command = [sys.executable, "-m", "tools.benchmarks.small_sets", *options]
    done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603
    return done.stdout.strip()


def some_rows(vectors: int, dimensions: int) -> NDArray[np.float32]:
    """Return vectors of norm 1, the same for every set."""
    rows = np.random.default_rng(1).standard_normal((vectors, dimensions), np.float32)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def keys_of(sets: int) -> list[SetKey]:
    """Return the keys of `sets` sets, three in each generation."""
    return [SetKey(f"{number // 3:016x}", f"{number % 3}") for number in range(sets)]


@contextmanager
def saved(sets: int, vectors: int, shape: IndexOptions) -> Iterator[Path]:
    """Save sets in a folder, yield it, and remove it at the end."""
    rows = some_rows(vectors, shape.dimensions)
    with tempfile.TemporaryDirectory() as folder:
        index = VectorIndex(shape, SnapshotDirectory(Path(folder), "model", shape))
        for number, key in enumerate(keys_of(sets)):
            first = number * vectors + 1
            index.add(key, range(first, first + vectors), rows)
            index.unload_beyond(0, idle_seconds=0)
        for key in index.unsaved():
            index.save(key)
        yield Path(folder)


def measure_bounded(folder: Path, shape: IndexOptions, memory_bytes: int) -> str:
    """Search each set once, and return a table row of the memory that this process took."""
    index = VectorIndex(shape, SnapshotDirectory(folder, "model", shape))
    keys = index.keys()
    for key in keys:
        index.now_ready(key)
    opened = psutil.Process().memory_info().rss
    keeper = Keeper(lambda *_: [index], KeeperOptions(60.0, 1_000, 0.2, memory_bytes))
    keeper.start()
    query = some_rows(1, shape.dimensions)
    random.Random(1).shuffle(keys)
    started = time.perf_counter()
    for key in keys:
        index.search([key], query, 10)
    searched = time.perf_counter() - started
    keeper.stop(60)
    cells = [
        f"{memory_bytes / MEGABYTE:,.0f}",
        f"{len(keys):,}",
        f"{opened / MEGABYTE:,.0f}",
        f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MEGABYTE:,.0f}",
        f"{sum(state.loaded for state in index.state().values()):,}",
        f"{searched / len(keys) * 1e6:,.0f}",
    ]
    return " | ".join(cells) + " |"


def measure(sets: int, vectors: int, shape: IndexOptions) -> str:
    """Return a table row of the resident memory of sets, and of times in microseconds."""
    rows = some_rows(vectors, shape.dimensions)
    process = psutil.Process()
    with tempfile.TemporaryDirectory() as folder:
        index = VectorIndex(shape, SnapshotDirectory(Path(folder), "model", shape))
        before = process.memory_info().rss
        keys = keys_of(sets)
        started = time.perf_counter()
        for number, key in enumerate(keys):
            first = number * vectors + 1
            index.add(key, range(first, first + vectors), rows)
        added = time.perf_counter() - started
        taken = process.memory_info().rss - before
        started = time.perf_counter()
        for key in keys[:SEARCHES]:
            index.search([key], rows[:1], 10)
        searched = time.perf_counter() - started
        started = time.perf_counter()
        for key in keys[-SAVES:]:
            index.save(key)
        saved = time.perf_counter() - started
    numbers = sets * vectors * shape.dimensions * 4
    cells = [
        f"{sets:,}",
        f"{taken / MEGABYTE:,.0f}",
        f"{numbers / MEGABYTE:,.0f}",
        f"{(taken - numbers) / sets / 1e3:,.1f}",
        f"{added / sets * 1e6:,.0f}",
        f"{searched / min(sets, SEARCHES) * 1e6:,.0f}",
        f"{saved / min(sets, SAVES) * 1e6:,.0f}",
    ]
    return " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
