"""Measures how soon chunks of dead workers are sent again despite a backlog, and the retention.

    python -m tools.benchmarks.sweeps

Starts embedded servers in a temporary folder, and beat and one or two maintenance processes as in
the Procfile. Settings are the defaults but for one: retention does not wait for the clock to
settle. Prints a table in Markdown; a run with the defaults takes some ten minutes.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import redis
from pymongo.database import Database

from catalog.database.connection import Row, connect, databases, now, stamp
from catalog.rows.chunks import DUE_FIELDS, SENT_FIELDS, Stage, State
from catalog.schema.indexes import create_indexes
from cli.processes import ROOT, procfile
from config.embedded import embedded_servers
from config.endpoints import read_endpoints
from config.settings import Settings

LEASE = timedelta(seconds=30)
#: Seconds between two dead workers, so that they die at different moments of a sweep.
GAP_SECONDS = 1.7
POLL_SECONDS = 0.2
LIMIT_SECONDS = 1200.0
MESSAGE = '{"body": "W1tdLCB7fSwge31d", "headers": {"task": "workers.vision"}, "padding": "%s"}'


@dataclass(frozen=True)
class Plant:
    """The database and the broker, and their data directory."""

    folder: Path
    rows: Database[Row]
    broker: redis.Redis


def insert(plant: Plant, table: str, rows: Iterable[Row]) -> None:
    """Insert rows, 2000 at a time."""
    for page in pages(rows, 2000):
        plant.rows[table].insert_many(page, ordered=False)


def pages(rows: Iterable[Row], size: int) -> Iterator[list[Row]]:
    """Yield the rows in lists of that size; the last may be shorter."""
    page: list[Row] = []
    for row in rows:
        page.append(row)
        if len(page) == size:
            yield page
            page = []
    if page:
        yield page


def chunk_row(number: int, state: State, **fields: object) -> Row:
    """Return the row of a chunk of one image in the vision stage."""
    return {
        "_id": f"chunk-0-{number}",
        "task_id": f"user/shop/{number:010d}.000000",
        "collection": "user/shop",
        "generation": "1f",
        "items": [[number, f"product-{number // 100}", 1 + number // 100, f"image-{number}"]],
        "stage": Stage.VISION.value,
        "state": state.value,
        "attempt": 1,
        "unclean": 0,
        "passes": 0,
        **fields,
    }


def fill_backlog(plant: Plant, count: int) -> None:
    """Write sent chunks and as many waiting messages, all sent within the last hour."""
    first = stamp(now() - timedelta(hours=1))
    field = SENT_FIELDS[Stage.VISION]
    step = 3_500_000 / max(count, 1)
    insert(
        plant,
        "chunks",
        (chunk_row(n, State.SENT, **{field: first + int(n * step)}) for n in range(count)),
    )
    message = MESSAGE % ("x" * 600)
    for start in range(0, count, 5000):
        plant.broker.lpush(Stage.VISION.value, *[message] * min(5000, count - start))
    # The consumers have come up to the oldest message, so that none counts as lost.
    settled = {"newest": first, "sample": first, "settled": first, "sampled_at": stamp(now())}
    plant.rows["queues"].insert_one({"_id": Stage.VISION.value, **settled})


def recovery_seconds(plant: Plant, workers: int) -> list[float]:
    """Simulate dying workers one after the other; return the seconds until each chunk was resent.

    Chunks that were not sent again within LIMIT_SECONDS are left out.
    """
    died: dict[str, float] = {}
    seconds: list[float] = []
    begun = time.monotonic()
    while len(seconds) < workers and time.monotonic() - begun < LIMIT_SECONDS:
        number = 10_000_000 + len(died)
        if len(died) < workers and time.monotonic() - begun >= len(died) * GAP_SECONDS:
            # The worker renewed its lease just before it died.
            until = {DUE_FIELDS[State.RUNNING]: stamp(now() + LEASE)}
            row = chunk_row(number, State.RUNNING, **until)
            plant.rows["chunks"].insert_one(row)
            died[row["_id"]] = time.monotonic()
        for row in plant.rows["chunks"].find({"_id": {"$in": list(died)}, "unclean": 1}, ["_id"]):
            seconds.append(time.monotonic() - died.pop(row["_id"]))
            died[f"{row['_id']} is sent"] = 0.0
        time.sleep(POLL_SECONDS)
    return seconds


def fill_retention(plant: Plant, tasks: int, images: int) -> None:
    """Write expired tasks with their chunks, and expired deleted images."""
    insert(
        plant,
        "tasks",
        (
            {
                "_id": f"user/shop/{n:010d}.000000",
                "task_id": f"user/shop/{n:010d}.000000",
                "listing": f"user/{n:016d}",
                "user": "user",
                "collection": "user/shop",
                "generation": "1f",
                "image_count": 1,
                "payload_bytes": 0,
                "chunk_ids": [f"chunk-0-{20_000_000 + n}"],
                "refusals": [],
                "created_at": 1,
                "finished_at": 1,
                "succeeded": 1,
                "failed": 0,
                "remove_at": 1 + n,
            }
            for n in range(tasks)
        ),
    )
    outcomes = ["SUCCEEDED"]
    insert(
        plant,
        "chunks",
        (chunk_row(20_000_000 + n, State.DONE, outcomes=outcomes) for n in range(tasks)),
    )
    insert(
        plant,
        "images",
        (
            {
                "_id": 1 + n,
                "collection": "user/shop",
                "generation": "1f",
                "product_id": f"product-{n // 100}",
                "product_serial": 1 + n // 100,
                "product_name": "a product",
                "category": "其他",
                "image_id": f"image-{n}",
                "image_info": "",
                "url": f"http://pictures.example/{n}.jpg",
                "outcome": "SUCCEEDED",
                "deleted_at": 1,
                "remove_at": 1 + n,
            }
            for n in range(images)
        ),
    )


def rates(plant: Plant, counts: dict[str, int]) -> dict[str, float]:
    """Return how many rows of each table were removed per second, from the first to the last.

    Tables that were not empty within LIMIT_SECONDS are left out.
    """
    begun: dict[str, float] = {}
    ended: dict[str, float] = {}
    limit = time.monotonic() + LIMIT_SECONDS
    while len(ended) < len(counts) and time.monotonic() < limit:
        for table in counts.keys() - ended.keys():
            oldest = plant.rows[table].find({"remove_at": {"$gt": 0}}, ["remove_at"])
            left = list(oldest.sort("remove_at", 1).limit(1))
            if not left:
                ended[table] = time.monotonic()
            elif left[0]["remove_at"] == 1:
                # Measured from the last poll at which no row was removed.
                begun[table] = time.monotonic()
        time.sleep(POLL_SECONDS)
    return {table: counts[table] / (ended[table] - begun[table]) for table in ended}


@contextmanager
def processes(plant: Plant, sweepers: int) -> Iterator[None]:
    """Run beat and `sweepers` maintenance processes during the block."""
    lines = procfile()
    maintenance = lines["maintenance"].removeprefix("exec ")
    commands = [lines["beat"].removeprefix("exec ")]
    commands += [maintenance.replace("maintenance@", f"maintenance{n}@") for n in range(sweepers)]
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("SNAPSKU_")},
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "SNAPSKU_DATA_DIR": str(plant.folder),
        "SNAPSKU_CLOCK_SETTLING_SECONDS": "0",
        "SNAPSKU_LOG_LEVEL": "ERROR",
    }
    with ExitStack() as stack:
        for command in commands:
            process = subprocess.Popen(  # noqa: S603
                shlex.split(command), cwd=ROOT, env=environment, stdout=subprocess.DEVNULL
            )
            stack.callback(process.wait)
            stack.callback(process.terminate)
        yield


def measure(plant: Plant, chosen: argparse.Namespace, sweepers: int) -> list[tuple[str, str]]:
    """Measure with so many maintenance processes; return (name, value) of each measurement."""
    plant.broker.flushdb()
    for table in ("chunks", "queues", "tasks", "images", "clock", "turns"):
        plant.rows.drop_collection(table)
    create_indexes(plant.rows.client, plant.rows.name)
    fill_backlog(plant, chosen.chunks)
    with processes(plant, sweepers):
        seconds = sorted(recovery_seconds(plant, chosen.dead))
    what = f"{chosen.chunks:,} messages wait, {chosen.dead} workers die: seconds until their chunks"
    missing = "" if len(seconds) == chosen.dead else f", {chosen.dead - len(seconds)} never"
    middle = f"{seconds[len(seconds) // 2]:.1f} / {seconds[-1]:.1f}" if seconds else "-"
    found = [(f"{what} are sent again, median / longest", middle + missing)]
    fill_retention(plant, chosen.tasks, chosen.images)
    with processes(plant, sweepers):
        gone = rates(plant, {"tasks": chosen.tasks, "images": chosen.images})
    for table, count in (("tasks", chosen.tasks), ("images", chosen.images)):
        what = f"{count:,} {'expired tasks' if table == 'tasks' else 'deleted images'} a second"
        found.append((what, f"{gone[table]:.0f}" if table in gone else "did not end"))
    return found


def table_of(columns: Sequence[list[tuple[str, str]]], head: Sequence[str]) -> str:
    """Return a table in Markdown."""
    lines = ["| | " + " | ".join(head) + " |", "|---" * (len(head) + 1) + "|"]
    for row in zip(*columns, strict=True):
        lines.append(f"| {row[0][0]} | " + " | ".join(value for _, value in row) + " |")
    return "\n".join(lines)


def main() -> None:
    """Run the benchmark with the arguments of the command line."""
    parser = argparse.ArgumentParser(prog="python -m tools.benchmarks.sweeps")
    parser.add_argument("--chunks", type=int, default=100_000, help="whose messages wait")
    parser.add_argument("--dead", type=int, default=10, help="workers that die")
    parser.add_argument("--tasks", type=int, default=30_000, help="whose time is over")
    parser.add_argument("--images", type=int, default=100_000, help="deleted, time is over")
    chosen = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="snapsku-benchmark-"))
    try:
        settings = Settings.model_validate({"data_dir": folder})
        with embedded_servers(settings):
            endpoints = read_endpoints(folder)
            assert endpoints is not None  # noqa: S101
            with connect(endpoints.mongo_url, 30.0) as client:
                rows, _ = databases(client, settings.mongo_database)
                plant = Plant(folder, rows, redis.Redis.from_url(endpoints.redis_url))
                columns = [measure(plant, chosen, sweepers) for sweepers in (1, 2)]
                plant.broker.close()
        print(table_of(columns, ["one maintenance process", "two"]))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
