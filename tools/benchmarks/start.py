"""Measures how soon a new index process answers, with snapshots, without, and after a kill.

    python -m tools.benchmarks.start --sets 2000 --vectors 200000

Starts the index process as in the Procfile, on embedded servers in a temporary folder; threads
search like search workers. Prints a table in Markdown; a run takes some minutes, most of them to
fill the database.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
from bson.binary import Binary
from numpy.typing import NDArray

from catalog.database.connection import Row, databases, now, stamp
from catalog.rows.images import SUCCEEDED
from catalog.rows.models import ModelRow
from catalog.schema.indexes import create_indexes
from catalog.store import Catalog
from cli.processes import ROOT
from config.embedded import embedded_servers
from config.settings import Settings, settings

MODEL = "benchmark"
CATEGORIES = ("x", "y")
THREADS = 4
#: Images that are written after the last snapshot and the kill.
LATER = 1_000
#: Seconds before a search that was not answered is repeated.
PAUSE = 0.02
LIMIT_SECONDS = 1800.0
WRITTEN_AT_ONCE = 5_000

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Image:
    """A findable image: its label and its set."""

    label: int
    generation: str
    category: str


@dataclass(frozen=True)
class Plant:
    """A catalogue of findable images, with two sets in each collection."""

    catalog: Catalog
    folder: Path
    dimensions: int

    def fill(self, images: Sequence[Image]) -> None:
        """Write rows and vectors of images, with `shown_at` of now."""
        rows, blobs = databases(self.catalog.client, settings().mongo_database)
        for start in range(0, len(images), WRITTEN_AT_ONCE):
            page = images[start : start + WRITTEN_AT_ONCE]
            at = stamp(now())
            rows["images"].insert_many([image_row(each, at) for each in page], ordered=False)
            vectors = [
                {
                    "_id": each.label,
                    "model_id": MODEL,
                    "values": Binary(vector(each.label, self.dimensions).tobytes()),
                }
                for each in page
            ]
            blobs["vectors"].insert_many(vectors, ordered=False)


def vector(label: int, dimensions: int) -> Vectors:
    """Return the vector of an image, random by its label, of norm 1."""
    values = np.random.default_rng(label).standard_normal(dimensions, np.float32)
    return np.asarray(values / np.linalg.norm(values), np.float32)


def image_row(image: Image, at: int) -> Row:
    """Return the row of a findable image."""
    return {
        "_id": image.label,
        "collection": f"user/{image.generation}",
        "generation": image.generation,
        "product_id": "p",
        "product_serial": image.label,
        "product_name": "name",
        "category": image.category,
        "image_id": str(image.label),
        "image_info": "",
        "url": None,
        "outcome": SUCCEEDED,
        "deleted_at": None,
        "ended_at": at,
        "shown_at": at,
    }


def collection_row(generation: str, images: int) -> Row:
    """Return the row of a collection."""
    return {
        "_id": f"user/{generation}",
        "user": "user",
        "name": generation,
        "generation": generation,
        "created_at": 0,
        "product_count": images,
        "image_count": images,
        "changes": 0,
        "change": None,
        "model_id": MODEL,
    }


def planned(sets: int, vectors: int) -> list[Image]:
    """Return the images of collections of 0.2 to 1.8 times the mean size."""
    collections = sets // len(CATEGORIES)
    weights = np.linspace(0.2, 1.8, collections)
    sizes = np.maximum(len(CATEGORIES), weights / weights.sum() * vectors).astype(int)
    order = np.random.default_rng(1).permutation(collections)
    labels = iter(range(1, int(sizes.sum()) + 1))
    return [
        Image(next(labels), f"{number:x}a", CATEGORIES[place % len(CATEGORIES)])
        for number in order
        for place in range(int(sizes[number]))
    ]


@contextmanager
def index_process(plant: Plant, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run an index process, and kill it at the end."""
    command = "celery --quiet -A workers.index worker --without-mingle --without-gossip"
    rest = "-n index@%h -Q index,neighbours -P threads -c 4"
    own = {
        "SNAPSKU_DATA_DIR": str(plant.folder),
        "SNAPSKU_LOG_FORMAT": "json",
        # Save snapshots soon, for the next process.
        "SNAPSKU_SNAPSHOT_SECONDS": "2",
    }
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", *command.split(), *rest.split()],
            cwd=ROOT,
            env={**os.environ, **own},
            stdout=output,
            stderr=output,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait(30)


@dataclass(frozen=True)
class Answers:
    """When each image was answered, in seconds since `began_at`, a wall-clock time."""

    began_at: float
    seconds: dict[Image, float]


def first_answers(plant: Plant, images: Iterable[Image]) -> Answers:
    """Search for each image until the search is answered, from before the process listens.

    Raises SystemExit if an image is not found by the first answer.
    """
    from workers.index_process.neighbours import NoReplyError, ask_neighbours

    began_at, began = time.time(), time.monotonic()

    def ask(image: Image) -> tuple[Image, float, bool]:
        query = vector(image.label, plant.dimensions)[np.newaxis]
        number = 0
        while True:
            number += 1
            name = f"{image.label}.{number}.{began}"
            deadline = time.monotonic() + settings().search_seconds
            where = (image.generation, image.category)
            try:
                near = ask_neighbours(name, *where, MODEL, query, 10, deadline)
            except NoReplyError:
                if time.monotonic() - began > LIMIT_SECONDS:
                    raise
                time.sleep(PAUSE)
                continue
            return image, time.monotonic() - began, bool(near) and near[0][0] == image.label

    with ThreadPoolExecutor(THREADS) as pool:
        answers = list(pool.map(ask, images))
    missed = [image for image, _, is_found in answers if not is_found]
    if missed:
        raise SystemExit(f"{len(missed)} images were not found at the first answer: {missed[:3]}")
    return Answers(began_at, {image: seconds for image, seconds, _ in answers})


def saved(plant: Plant, sets: int) -> None:
    """Wait until all sets are saved, with a checkpoint; raises SystemExit after LIMIT_SECONDS."""
    folder = plant.folder / "index" / "sets"
    deadline = time.monotonic() + LIMIT_SECONDS
    while len(list(folder.glob("*/manifest"))) < sets or not (folder / "checkpoint").exists():
        if time.monotonic() > deadline:
            raise SystemExit("the sets were not saved")
        time.sleep(0.2)


def told(log: Path, event: str) -> list[Row]:
    """Return the lines of an event in a log of JSON lines."""
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == event]


def row(what: str, log: Path, answers: Answers) -> None:
    """Print a table row: when the index began, and when the first, half and all sets answered."""
    (begins,) = told(log, "index begins")
    imported = datetime.fromisoformat(begins["timestamp"]).timestamp() - answers.began_at
    first, half, last = np.percentile(list(answers.seconds.values()), (0, 50, 100))
    print(f"| {what} | {imported:.2f} | {first:.2f} | {half:.2f} | {last:.2f} |", flush=True)


def measure(plant: Plant, images: Sequence[Image], sets: int) -> None:
    """Measure, and print the table."""
    one_each = list({(image.generation, image.category): image for image in images}.values())
    sizes: dict[str, int] = {}
    for image in images:
        sizes[image.generation] = sizes.get(image.generation, 0) + 1
    by_size = sorted(one_each, key=lambda image: sizes[image.generation])
    log = plant.folder / "index.log"
    print("\n| seconds from the process's start | index begins | first set | half | all sets |")
    print("|---|---|---|---|---|", flush=True)

    with index_process(plant, log) as process:
        row("without snapshots", log, first_answers(plant, by_size))
        built = [sizes[line["generation"]] for line in told(log, "set ready")]
        saved(plant, sets)
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    random.Random(1).shuffle(one_each)
    for what in ("with snapshots", "with snapshots, again"):
        with index_process(plant, log) as process:
            row(what, log, first_answers(plant, one_each))
            process.send_signal(signal.SIGTERM)
            process.wait(60)

    later = [
        Image(len(images) + 1 + place, one.generation, one.category)
        for place, one in enumerate(one_each[:LATER])
    ]
    with index_process(plant, log) as process:
        first_answers(plant, one_each[:1])
        process.kill()
    plant.fill(later)
    with index_process(plant, log):
        answers = first_answers(plant, later)
        row(
            f"after kill -9, sets of {len(later)} images shown since the last snapshot",
            log,
            answers,
        )
    order = "smallest first" if built == sorted(built) else "NOT by size"
    print(f"\nbuilt {len(built)} sets, {order}; every image was found at the first answer")


def run(sets: int, vectors: int, dimensions: int, folder: Path) -> None:
    """Fill a catalogue, and measure."""
    from workers.support.resources import catalog

    began = time.monotonic()
    plant = Plant(catalog(), folder, dimensions)
    create_indexes(plant.catalog.client, settings().mongo_database)
    plant.catalog.models.adopt(ModelRow(MODEL, dimensions))
    images = planned(sets, vectors)
    sizes: dict[str, int] = {}
    for image in images:
        sizes[image.generation] = sizes.get(image.generation, 0) + 1
    rows, _ = databases(plant.catalog.client, settings().mongo_database)
    rows["collections"].insert_many(
        [collection_row(generation, size) for generation, size in sizes.items()], ordered=False
    )
    plant.fill(images)
    print(
        f"{len(images)} vectors of {dimensions} numbers in {sets} sets of {len(sizes)} "
        f"collections, written in {time.monotonic() - began:.0f} s",
        flush=True,
    )
    measure(plant, images, sets)


def main() -> None:
    """Run the benchmark with the arguments of the command line."""
    parser = argparse.ArgumentParser(prog="python -m tools.benchmarks.start")
    parser.add_argument("--sets", type=int, default=2_000, help="how many, two to a collection")
    parser.add_argument("--vectors", type=int, default=200_000, help="how many in all sets")
    parser.add_argument("--dimensions", type=int, default=256, help="numbers in a vector")
    chosen = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="snapsku-benchmark-"))
    # This process uses the same servers as the process that it measures.
    os.environ["SNAPSKU_DATA_DIR"] = str(folder)
    try:
        with embedded_servers(Settings.model_validate({"data_dir": folder})):
            run(chosen.sets, chosen.vectors, chosen.dimensions, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
