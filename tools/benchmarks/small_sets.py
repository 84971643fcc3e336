"""How much memory many small sets take, with graphs and without, each in a process of its own.

    python -m tools.benchmarks.small_sets --sets 100000 --vectors 10

A graph for every set would take 2 MB a set, so that side is measured with `--graphs` sets.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil

from indexer.hnsw.index import VectorIndex
from indexer.hnsw.options import IndexOptions
from indexer.hnsw.snapshots.directory import SnapshotDirectory
from indexer.key import SetKey

MEGABYTE = 1e6
SEARCHES = 200
SAVES = 200


def main() -> None:
    """Measure both sides, one after the other."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--sets", type=int, default=100_000)
    parser.add_argument("--graphs", type=int, default=500)
    parser.add_argument("--vectors", type=int, default=10)
    parser.add_argument("--dimensions", type=int, default=256)
    parser.add_argument("--exact-up-to", type=int, help="measure this alone, in this process")
    options = parser.parse_args()
    if options.exact_up_to is not None:
        print(measure(options.sets, options.vectors, options.dimensions, options.exact_up_to))
        return
    print(
        "| | sets | MB | of it numbers | kB a set beside them | µs to add | to search | to save |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for name, sets, exact_up_to in (("graph", options.graphs, 1), ("none", options.sets, 2_000)):
        shape = ["--vectors", str(options.vectors), "--dimensions", str(options.dimensions)]
        bound = ["--sets", str(sets), "--exact-up-to", str(exact_up_to)]
        command = [sys.executable, "-m", "tools.benchmarks.small_sets", *shape, *bound]
        done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603
        print(f"| {name} | {done.stdout.strip()}")


def measure(sets: int, vectors: int, dimensions: int, exact_up_to: int) -> str:
    """Return the cells of one line: resident memory of the sets, and times in microseconds."""
    random = np.random.default_rng(1)
    rows = random.standard_normal((vectors, dimensions), np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    shape = IndexOptions(dimensions=dimensions, shard_capacity=100_000, exact_up_to=exact_up_to)
    process = psutil.Process()
    with tempfile.TemporaryDirectory() as folder:
        index = VectorIndex(shape, SnapshotDirectory(Path(folder), "model", shape))
        before = process.memory_info().rss
        keys = [SetKey(f"{number // 3:016x}", f"{number % 3}") for number in range(sets)]
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
    numbers = sets * vectors * dimensions * 4
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
