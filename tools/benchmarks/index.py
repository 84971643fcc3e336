"""Measures search times while the index does other work, and how soon the index is ready.

    python -m tools.benchmarks.index --vectors 100000 --dimensions 128

Runs one process with threads like the index worker, against an embedded document database in a
temporary folder. Prints a table; a run with the defaults takes some minutes.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import logging
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import structlog
from numpy.typing import NDArray

from catalog.database.connection import connect
from catalog.rows.images import ImageRow
from catalog.rows.models import ModelRow
from catalog.store import Catalog, catalog_of
from config.embedded import embedded_servers
from config.endpoints import read_endpoints
from config.settings import Settings
from indexer.key import SetKey
from indexer.vector_store import VectorStore
from workers.index_process.catalog_index import CatalogIndex
from workers.index_process.vector_engine import HnswEngine

Vectors = NDArray[np.float32]

KEY = SetKey("1", "category")
MODEL = "benchmark"
K = 70  # the default topk and what a search asks for beyond it
SEARCH_THREADS = 2
SEARCH_PAUSE = 0.01
SEARCH_SECONDS = 8.0
ADDED = 1_000
BURST = 3_000
SNAPSHOT_GAP = 1.0  # still hundreds of times more often than the settings' default
CHUNK = 16
DELETED_SHARE = 0.25


def clustered(count: int, dimensions: int, seed: int) -> Vectors:
    """Return random vectors of norm 1 (count, dimensions), about 20 in a cluster."""
    centres = np.random.default_rng(7).standard_normal((5_000, dimensions), np.float32)
    random = np.random.default_rng(seed)
    vectors = centres[random.integers(0, len(centres), count)]
    vectors += 0.5 * random.standard_normal((count, dimensions), np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def row(label: int) -> ImageRow:
    """Return the row of a pending image."""
    return ImageRow(
        label=label,
        collection="user/shop",
        generation=KEY.generation,
        product_id="product",
        product_serial=1,
        product_name="name",
        category=KEY.category,
        image_id=str(label),
        image_info="",
        url=None,
    )


def fill(catalog: Catalog, vectors: Vectors, first: int) -> list[ImageRow]:
    """Write rows and vectors of findable images with labels from `first` on; return the rows."""
    rows = [row(first + place) for place in range(len(vectors))]
    for start in range(0, len(rows), 2_000):
        page = rows[start : start + 2_000]
        catalog.images.insert(page)
        catalog.images.succeed([image.label for image in page])
        catalog.vectors.put(MODEL, {image.label: vectors[image.label - first] for image in page})
    return rows


def megabytes() -> float:
    """Return the resident memory of this process in MB, after free memory was released."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return float(psutil.Process().memory_info().rss) / 2**20


class Searches:
    """Threads that search with short pauses, and measure each search in milliseconds.

    In the service a search spends far more time in the model than in the index. Without pauses
    the threads would compete for the CPU even without other work.
    """

    def __init__(self, shards: CatalogIndex, queries: Vectors) -> None:
        self._shards = shards
        self._queries = queries

    def during(self, work: Callable[[], object]) -> tuple[list[float], float]:
        """Run `work`; return the times of the searches meanwhile, and the seconds it took."""
        over = threading.Event()

        def search(number: int) -> list[float]:
            times = []
            place = number
            while not over.is_set():
                query = self._queries[place % len(self._queries)][np.newaxis]
                started = time.perf_counter()
                self._shards.search(KEY.generation, KEY.category, query, K)
                times.append((time.perf_counter() - started) * 1000)
                place += SEARCH_THREADS
                time.sleep(SEARCH_PAUSE)
            return times

        with ThreadPoolExecutor(SEARCH_THREADS) as pool:
            searching = [pool.submit(search, number) for number in range(SEARCH_THREADS)]
            started = time.perf_counter()
            try:
                work()
            finally:
                over.set()
            seconds = time.perf_counter() - started
            return [one for times in searching for one in times.result()], seconds


def opened(catalog: Catalog, directory: Path) -> CatalogIndex:
    """Return an index like that of the worker."""
    return CatalogIndex(lambda: catalog, HnswEngine(100_000, directory))


def timed(work: Callable[[], object]) -> float:
    """Run `work`, and return the seconds it took."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def restored(shards: CatalogIndex) -> VectorStore:
    """Make an index ready, and return its only vector index."""
    (index,) = shards.restore()
    return index


def measure_searches(shards: CatalogIndex, catalog: Catalog, count: int, dimensions: int) -> None:
    """Print the times of searches alone, and during each kind of other work."""
    index = restored(shards)
    searches = Searches(shards, clustered(2_000, dimensions, seed=2))
    added = fill(catalog, clustered(ADDED + BURST, dimensions, seed=3), count + 1)

    def save() -> None:
        end = time.monotonic() + SEARCH_SECONDS
        label = 0
        while time.monotonic() < end:
            # A change of each shard, so that all are saved again.
            label += 1
            index.mark_deleted(KEY, range(label, count, 50_000))
            assert index.save(KEY)  # noqa: S101
            time.sleep(SNAPSHOT_GAP)

    def add(rows: list[ImageRow], pause: float) -> None:
        for start in range(0, len(rows), CHUNK):
            shards.add(rows[start : start + CHUNK])
            time.sleep(pause)

    def compact() -> None:
        assert index.compact(DELETED_SHARE / 2, threading.Event())  # noqa: S101

    def report(name: str, work: Callable[[], object]) -> None:
        times, seconds = searches.during(work)
        p50, p99, worst = (np.percentile(times, share) for share in (50, 99, 100))
        print(
            f"{name:<28}{p50:>9.1f}{p99:>9.1f}{worst:>9.1f}{len(times):>10}{seconds:>9.1f}",
            flush=True,
        )

    print(f"{'search, ms, while':<28}{'p50':>9}{'p99':>9}{'max':>9}{'searches':>10}{'seconds':>9}")
    searches.during(lambda: time.sleep(1))
    report("nothing else", lambda: time.sleep(SEARCH_SECONDS))
    report("snapshots are written", save)
    pause = SEARCH_SECONDS * CHUNK / ADDED
    report(f"{ADDED} images are added", lambda: add(added[:ADDED], pause))
    report(f"{BURST} more without pause", lambda: add(added[ADDED:], 0))
    index.mark_deleted(KEY, range(1, int(count * DELETED_SHARE)))
    report("a shard is built anew", compact)


def run(count: int, dimensions: int, catalog: Catalog, directory: Path) -> None:
    """Fill a catalogue, and print all measurements."""
    catalog.models.adopt(ModelRow(MODEL, dimensions))
    catalog.client["benchmark"]["collections"].insert_one(
        {
            "_id": "user/shop",
            "user": "user",
            "name": "shop",
            "generation": KEY.generation,
            "created_at": 0,
            "product_count": 1,
            "image_count": count,
            "changes": 0,
            "model_id": MODEL,
        }
    )
    print(f"{count} vectors of {dimensions} numbers", flush=True)
    seconds = timed(lambda: fill(catalog, clustered(count, dimensions, seed=1), 1))
    print(f"{seconds:8.1f} s to fill the database", flush=True)
    before = megabytes()
    shards = opened(catalog, directory)
    print(f"{timed(shards.restore):8.1f} s until ready without snapshots", flush=True)
    links = 2 * 16 * 4
    pure = count * (dimensions * 4 + links) / 2**20
    print(f"{before:8.0f} MB resident before, {megabytes():.0f} after; {pure:.0f} are pure")
    index = restored(shards)
    estimate = index.memory_bytes / 2**20
    print(f"{estimate:8.0f} MB by the estimate that the memory budget uses")
    seconds = timed(partial(index.save, KEY))
    print(f"{seconds:8.1f} s to write the snapshot", flush=True)
    shards.keep_checkpoints()
    del index, shards
    shards = opened(catalog, directory)
    print(f"{timed(shards.restore):8.1f} s until ready from snapshots", flush=True)
    print(f"{megabytes():8.0f} MB resident after it", flush=True)
    measure_searches(shards, catalog, count, dimensions)


def main() -> None:
    """Run the benchmark with the arguments of the command line."""
    parser = argparse.ArgumentParser(prog="python -m tools.benchmarks.index")
    parser.add_argument("--vectors", type=int, default=100_000, help="how many")
    parser.add_argument("--dimensions", type=int, default=128, help="numbers in a vector")
    chosen = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    folder = Path(tempfile.mkdtemp(prefix="snapsku-benchmark-"))
    try:
        with embedded_servers(Settings.model_validate({"data_dir": folder})):
            endpoints = read_endpoints(folder)
            assert endpoints is not None  # noqa: S101
            client = connect(endpoints.mongo_url, 10.0)
            with client:
                run(
                    chosen.vectors,
                    chosen.dimensions,
                    # Without indexes of the database, which are not needed here and slow the fill.
                    catalog_of(Settings.model_validate({"mongo_database": "benchmark"}), client),
                    folder / "index",
                )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
