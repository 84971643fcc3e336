"""Measures what several vectors of an image cost: in the index, and to make them.

    python -m tools.benchmarks.parts --images 20000

Each number of vectors is measured three times, in turn and in a process of its own. Medians are
printed, of the times of a processor. A search has four vectors, as one of the service has. Then the
pictures of a folder, three in a row as one, are described in turn with each number of regions.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import psutil
from numpy.typing import NDArray
from PIL import Image

from indexer.hnsw.index import VectorIndex
from indexer.hnsw.options import IndexOptions
from indexer.key import SetKey
from vision.options import VisionOptions
from vision.pipeline import load_pipeline

Vectors = NDArray[np.float32]

KEY = SetKey("1", "category")
ROUNDS = 3
#: Images in a chunk, vectors of a query, and neighbours that a search with the default topk needs.
CHUNK, QUERY_VECTORS, K = 16, 4, 70
QUERIES = 300
MOST = "best 3 and the whole"
#: Of each of the pictures in a row, in pixels.
SIDE = 480


def main() -> None:
    """Print both tables, or measure one number of vectors in this process."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--dimensions", type=int, default=256)
    parser.add_argument("--pictures", type=Path, default=Path("samples/products"))
    parser.add_argument("--parts", type=int, help="measure this alone, in this process")
    chosen = parser.parse_args()
    if chosen.parts is not None:
        print(json.dumps(measure(chosen.images, chosen.parts, chosen.dimensions)))
        return
    size = ["--images", str(chosen.images), "--dimensions", str(chosen.dimensions)]
    print_table(
        "vectors an image | kB an image | ms to add it | ms a search | found of the nearest",
        {str(count): ["--parts", str(count), *size] for count in (1, 2, 4)},
    )
    described = describing(sorted(chosen.pictures.glob("*.*")))
    print("\n| described | ms a picture |\n|---|---|")
    for name, milliseconds in described.items():
        print(f"| {name} | {milliseconds:.1f} |")


def print_table(heading: str, commands: dict[str, list[str]]) -> None:
    """Run each command in turn, ROUNDS times, and print the median of each of its numbers."""
    answers: dict[str, list[list[float]]] = {name: [] for name in commands}
    for _ in range(ROUNDS):
        for name, arguments in commands.items():
            command = [sys.executable, "-m", "tools.benchmarks.parts", *arguments]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE)  # noqa: S603 - our own
            answers[name].append(json.loads(done.stdout))
    print(f"| {heading} |\n|{'---|' * len(heading.split('|'))}")
    for name, rounds in answers.items():
        medians = (statistics.median(column) for column in zip(*rounds, strict=True))
        print(f"| {name} | {' | '.join(f'{median:.3f}' for median in medians)} |", flush=True)


def images_of(count: int, parts: int, dimensions: int) -> Vectors:
    """Return vectors (count, parts, dimensions) of norm 1: parts are alike, as are some images."""
    random = np.random.default_rng(1)
    centres = random.standard_normal((max(1, count // 20), dimensions), np.float32)
    own = centres[random.integers(0, len(centres), count)]
    own += 0.5 * random.standard_normal((count, dimensions), np.float32)
    vectors = own[:, None] + 0.5 * random.standard_normal((count, parts, dimensions), np.float32)
    vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
    return vectors


def measure(images: int, parts: int, dimensions: int) -> list[float]:
    """Return kB an image, milliseconds to add one and to search, and the share of neighbours found.

    The share is of those that a comparison with all vectors finds.
    """
    vectors = images_of(images, parts, dimensions)
    near = vectors[np.random.default_rng(2).integers(0, images, QUERIES), :1]
    noise = np.random.default_rng(3).standard_normal((QUERIES, QUERY_VECTORS, dimensions))
    queries = (near + 0.04 * noise).astype(np.float32)
    queries /= np.linalg.norm(queries, axis=2, keepdims=True)
    process = psutil.Process()
    index = VectorIndex(IndexOptions(dimensions, shard_capacity=1_000_000, parts=parts))
    before = process.memory_info().rss
    started = time.process_time()
    for first in range(0, images, CHUNK):
        some = vectors[first : first + CHUNK]
        labels = np.repeat(np.arange(first + 1, first + 1 + len(some)), parts).tolist()
        index.add(KEY, labels, some.reshape(-1, dimensions))
    added = time.process_time() - started
    memory = process.memory_info().rss - before
    started = time.process_time()
    found = [index.search([KEY], query, K).labels for query in queries]
    searched = time.process_time() - started
    shares = []
    for query, nearest in zip(queries, found, strict=True):
        best = (vectors @ query.T).max(axis=(1, 2))
        shares.append(len(np.intersect1d(np.argsort(-best)[:K] + 1, nearest)) / K)
    return [
        memory / images / 1e3,
        added / images * 1e3,
        searched / QUERIES * 1e3,
        float(np.mean(shares)),
    ]


def describing(files: Sequence[Path]) -> dict[str, float]:
    """Return the milliseconds to describe a picture, by the regions described; on one thread."""
    first = load_pipeline(VisionOptions(threads=1))
    models = {
        "best box": first,
        **{
            f"best {one.parts - 1} and the whole": one
            for one in first.relatives()
            if one.parts != 3
        },
    }
    pictures = [in_a_row(files[place : place + 3]) for place in range(0, len(files) - 2, 3)]
    regions = np.mean([len(models[MOST].describe(picture)[1]) for picture in pictures])
    print(f"\n{len(pictures)} pictures, {regions:.1f} regions of {MOST}")
    rounds: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(ROUNDS):
        for name, model in models.items():
            started = time.process_time()
            for picture in pictures:
                model.describe(picture)
            rounds[name].append((time.process_time() - started) / len(pictures) * 1e3)
    return {name: statistics.median(times) for name, times in rounds.items()}


def in_a_row(files: Sequence[Path]) -> Image.Image:
    """Return pictures side by side, so that there are several products."""
    row = Image.new("RGB", (SIDE * len(files), SIDE), "white")
    for place, file in enumerate(files):
        with Image.open(file) as picture:
            row.paste(picture.convert("RGB").resize((SIDE, SIDE)), (SIDE * place, 0))
    return row


if __name__ == "__main__":
    main()
