"""What a soak run measures of a running service: memory, descriptors, threads, keys, rows, files.

Each gauge has a name and a number; the kind of a gauge, which its name begins with, says
how much of a rise is still noise.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections import defaultdict
from pathlib import Path

import psutil
import redis

from tests.chaos.servers import Plant
from tests.soak.judge import Allowance
from tests.soak.load import IMAGES, PRODUCTS

MEGABYTE = 2**20

MEMORY = "MB of memory"
DESCRIPTORS = "descriptors"
THREADS = "threads"
REDIS_MEMORY = "MB in redis"
KEYS = "keys"
ROWS = "rows"
FILES = "MB of files"
PURGES = f"{ROWS} of purges"

ALLOWANCES = {
    # An allocator keeps what a burst needed, and gives back whole arenas or nothing.
    MEMORY: Allowance(0.05, 6.0),
    # Connections and a file that is being written come and go.
    DESCRIPTORS: Allowance(0.1, 6.0),
    THREADS: Allowance(0.1, 4.0),
    # Buffers of clients, and the pictures that wait for fetch, vision and search.
    REDIS_MEMORY: Allowance(0.15, 1.5),
    # A slow machine takes less work for a while; at full speed there are 45 results of chunks
    # and 25 rows of the chunks of tasks that are remembered.
    KEYS: Allowance(0.15, 15.0, level=50.0),
    ROWS: Allowance(0.15, 12.0, level=25.0),
    # An append-only file doubles before it is rewritten, a database file grows by whole
    # extents and uses them again, a snapshot lies beside its successor for a moment.
    FILES: Allowance(0.5, 3.0),
}


#: On a slow machine fewer images live at the beginning than the load is made for.
LIVING = Allowance(0.15, 12.0, level=(PRODUCTS + 2) * IMAGES)
TABLES_OF_IMAGES = frozenset(
    {"images", "image_names", "image_contents", "pictures", "vectors", "local_features"}
)


def allowance(name: str) -> Allowance:
    """Return the allowance of a gauge."""
    if name.removeprefix(f"{ROWS} of ") in TABLES_OF_IMAGES:
        return LIVING
    return next(found for kind, found in ALLOWANCES.items() if name.startswith(kind))


def read_gauges(plant: Plant) -> dict[str, float]:
    """Measure everything once."""
    found: dict[str, float] = defaultdict(float)
    _measure_processes(plant, found)
    _measure_redis(plant, found)
    _measure_rows(plant.data_dir / "nx", found)
    _measure_files(plant.data_dir, found)
    return dict(found)


def _measure_processes(plant: Plant, found: dict[str, float]) -> None:
    for kind in plant.kinds:
        for member in plant.members(kind):
            # A child may end between being listed and being measured.
            with contextlib.suppress(psutil.NoSuchProcess):
                found[f"{MEMORY} of {kind}"] += member.memory_info().rss / MEGABYTE
                found[f"{DESCRIPTORS} of {kind}"] += member.num_fds()
                found[f"{THREADS} of {kind}"] += member.num_threads()


def _measure_redis(plant: Plant, found: dict[str, float]) -> None:
    with redis.Redis.from_url(plant.redis_url) as client:
        found[REDIS_MEMORY] = client.info("memory")["used_memory"] / MEGABYTE
        for key in client.scan_iter(count=1000):
            found[f"{KEYS} {key.decode().split(':')[0].split('-')[0]}"] += 1
            found[f"{KEYS} in all"] += 1


def _measure_rows(folder: Path, found: dict[str, float]) -> None:
    """Count past the server, which would take long: it keeps each table as one of SQLite.

    So its own tables are counted too, which no client sees through it.
    """
    for path in folder.glob("*.db"):
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
            tables = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            for (table,) in tables.fetchall():
                count = f'SELECT count(*) FROM "{table}"'  # noqa: S608
                found[f"{ROWS} of {table}"] += database.execute(count).fetchone()[0]


def _measure_files(data_dir: Path, found: dict[str, float]) -> None:
    for part in data_dir.iterdir():
        for folder, _, names in os.walk(part):
            for name in names:
                # A file that is replaced may be gone by now.
                with contextlib.suppress(FileNotFoundError):
                    size = (Path(folder) / name).stat().st_size
                    found[f"{FILES} in {part.name}"] += size / MEGABYTE
