"""The audit when all is quiet: what lies there against what the ledger says must lie there."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import redis

from tests.chaos.ledger import Fate, Finding, Ledger
from tests.chaos.rows import Row, Rows, unacknowledged
from tests.chaos.servers import DATABASE, Plant, mongo_client

#: A vector in the index is as good as equal to the stored one.
EQUAL = 0.99999
NEIGHBOURS_SECONDS = 90.0


def audit_rows(rows: Rows, ledger: Ledger) -> list[Finding]:
    """Compare the rows with the ledger and with each other."""
    return [
        *_fates(rows, ledger),
        *_twins(rows, ledger),
        *_images(rows),
        *_claims(rows, ledger),
        *_blobs(rows),
        *_chunks(rows),
        *_counters(rows),
    ]


def name_of(row: Row) -> str:
    """Return what a client calls an image; unique in a run."""
    return str(row["image_id"])


def _fates(rows: Rows, ledger: Ledger) -> Iterable[Finding]:
    living = Counter(name_of(row) for row in rows.living.values())
    for name, count in living.items():
        if name not in ledger.images:
            yield Finding("stranger", f"image {name} is there, and no client sent it")
        if count > 1:
            yield Finding("twice", f"image {name} is there {count} times")
    for name, image in ledger.images.items():
        fate = ledger.fate(image)
        if fate is Fate.ALIVE and name not in living:
            yield Finding("lost", f"image {name} of task {image.promised} is not there")
        if fate is Fate.DEAD and name in living:
            yield Finding("alive after deletion", f"image {name} of task {image.promised}")


def _twins(rows: Rows, ledger: Ledger) -> Iterable[Finding]:
    living = {name_of(row) for row in rows.living.values()}
    for group, images in ledger.twin_groups().items():
        there = [image.image_id for image in images if image.image_id in living]
        if len(there) > 1:
            yield Finding("same bytes twice", f"{there}")
        sure = all(image.promised and not ledger.deletions_of(image) for image in images)
        if sure and not there:
            yield Finding("lost", f"none of the twins {group} is there")


def _images(rows: Rows) -> Iterable[Finding]:
    for row in rows.images:
        name = f"image {name_of(row)} ({row['_id']})"
        if row["outcome"] is None and row["deleted_at"] is None:
            yield Finding("stuck", f"{name} never ended")
        if row.get("index_at") is not None:
            yield Finding("stuck", f"{name} awaits the index")
        if row["generation"] not in rows.generations:
            yield Finding("left over", f"{name} is of a collection that is gone")
        elif (
            row["outcome"] == "SUCCEEDED"
            and row["deleted_at"] is None
            and row["product_serial"] not in rows.serials
        ):
            yield Finding("left over", f"{name} is of a product that is gone")
    for row in rows.products:
        if row["deleted_at"] is not None:
            yield Finding("stuck", f"product {row['_id']} is being deleted")
        if row["generation"] not in rows.generations:
            yield Finding("left over", f"product {row['_id']} is of a collection that is gone")
    for row in rows.submissions:
        yield Finding("left over", f"submission {row['_id']}")


def _claims(rows: Rows, ledger: Ledger) -> Iterable[Finding]:
    expected = {f"{row['generation']}/{name_of(row)}": n for n, row in rows.living.items()}
    held = {row["_id"]: row["label"] for row in rows.names}
    for key in held.keys() - expected.keys():
        yield Finding("name left over", f"{key} is held by {held[key]}")
    for key, label in expected.items():
        if held.get(key) != label:
            yield Finding("name lost", f"{key} of {label} is held by {held.get(key)}")
    contents = {
        f"{row['product_serial']}/{ledger.images[name_of(row)].sha256}": label
        for label, row in rows.living.items()
        if name_of(row) in ledger.images
    }
    held = {row["_id"]: row["label"] for row in rows.contents}
    for key in held.keys() - contents.keys():
        yield Finding("content left over", f"{key} is held by {held[key]}")
    for key, label in contents.items():
        if held.get(key) != label:
            yield Finding("content lost", f"{key} of {label} is held by {held.get(key)}")


def _blobs(rows: Rows) -> Iterable[Finding]:
    living = set(rows.living)
    for label in rows.payloads:
        yield Finding("left over", f"payload of {label}")
    for label in rows.vectors.keys() - living:
        yield Finding("left over", f"vector of {label}, which is not there")
    for label in rows.pictures - living:
        yield Finding("left over", f"picture of {label}, which is not there")
    for label in rows.local_features - living:
        yield Finding("left over", f"local features of {label}, which is not there")
    for label in living - rows.vectors.keys():
        yield Finding("lost", f"vector of {label}")
    for label in living - rows.pictures:
        yield Finding("lost", f"picture of {label}")


def _chunks(rows: Rows) -> Iterable[Finding]:
    for row in rows.chunks:
        if row["state"] != "done" or "settle_at" in row:
            yield Finding("stuck", f"chunk {row['_id']} of {row['task_id']} is {row['state']}")
    for row in rows.tasks:
        if row["finished_at"] is None or "open_since" in row:
            yield Finding("stuck", f"task {row['_id']} was never noted as finished")
    noted = {chunk_id for task in rows.tasks for chunk_id in task["chunk_ids"]}
    for row in rows.chunks:
        if row["_id"] not in noted:
            yield Finding("left over", f"chunk {row['_id']} is of no task")


def _counters(rows: Rows) -> Iterable[Finding]:
    by_generation = Counter(row["generation"] for row in rows.living.values())
    by_serial: dict[int, set[int]] = {}
    for label, row in rows.living.items():
        by_serial.setdefault(row["product_serial"], set()).add(label)
    products = Counter(row["generation"] for row in rows.serials.values())
    for row in rows.collections:
        counted = row["product_count"], row["image_count"]
        recounted = products[row["generation"]], by_generation[row["generation"]]
        if counted != recounted:
            yield Finding(
                "counter", f"collection {row['_id']}: {counted} products and images, {recounted=}"
            )
    for serial, row in rows.serials.items():
        there = by_serial.get(serial, set())
        if sorted(row["places"]) != sorted(there):
            odd = sorted(there.symmetric_difference(row["places"]))
            yield Finding("counter", f"product {row['_id']}: places of {odd}")


def audit_redis(plant: Plant) -> list[Finding]:
    """Look for what a stage left in Redis."""
    findings = []
    with redis.Redis.from_url(plant.redis_url) as broker:
        for key in broker.scan_iter(match="*bytes:*", count=1000):
            findings.append(Finding("left over", f"staged {key.decode()}"))
        for key in broker.scan_iter(match="staged:*:sizes", count=1000):
            if total := int(broker.hget(key, "total") or 0):
                findings.append(Finding("counter", f"{key.decode()} counts {total} bytes"))
        # With its tag: one that is at work at this moment is another one at the next audit.
        for tag, queue in unacknowledged(broker).items():
            findings.append(Finding("left over", f"message {tag} of {queue} is not acknowledged"))
        for pattern in ("*query:*", "*reply:*"):
            for key in broker.scan_iter(match=pattern, count=1000):
                if broker.ttl(key) == -1:
                    findings.append(Finding("left over", f"{key.decode()} never expires"))
    return findings


def audit_files(plant: Plant) -> list[Finding]:
    """Look for files that were not written to their end, or that no manifest names.

    In the folder of the owner of the index: the next one clears its own when it takes over.
    """
    findings: list[Finding] = []
    with mongo_client(plant.mongo_url) as catalogue:
        owner = catalogue[DATABASE]["owners"].find_one({"_id": "index"})
    for data_dir in (plant.data_dir, plant.second_data_dir):
        folder = data_dir / "index"
        if owner is None or owner["directory"] != str(folder):
            continue
        for path in sorted(folder.rglob("*.part")):
            findings.append(Finding("half-written", str(path.relative_to(folder.parents[1]))))
        for place in sorted(path for path in (folder / "sets").glob("*") if path.is_dir()):
            findings += _unnamed(place)
    return findings


def _unnamed(folder: Path) -> Iterable[Finding]:
    try:
        manifest = json.loads((folder / "manifest").read_bytes().partition(b"\n")[2])
    except FileNotFoundError:
        yield Finding("half-written", f"{folder.name} has no manifest")
        return
    named = {shard["file"]: shard["size"] for shard in manifest["shards"]}
    found = {path.name: path.stat().st_size for path in folder.glob("*.*")}
    if named != found:
        yield Finding("half-written", f"{folder.name} names {named}, has {found}")


def audit_index(rows: Rows, plant: Plant, own: set[int]) -> list[Finding]:
    """Compare what the index process holds with the stored vectors.

    The labels of every set, and of the labels in `own` the vectors themselves.
    """
    sets: dict[tuple[str, str], set[int]] = {}
    for label, row in rows.living.items():
        if label in rows.vectors:
            sets.setdefault((row["generation"], row["category"]), set()).add(label)
    questions: list[dict[str, Any]] = []
    expected: list[tuple[set[int], int | None]] = []
    for (generation, category), labels in sorted(sets.items()):
        some = next(iter(labels))
        ask = {"generation": generation, "category": category}
        questions.append({**ask, "k": len(labels) + 100, "label": some})
        expected.append((labels, None))
        for label in sorted(labels & own):
            questions.append({**ask, "k": 5, "label": label})
            expected.append((labels, label))
    gone = {row["_id"] for row in rows.purges} - rows.generations.keys()
    for generation in sorted(gone) if rows.vectors else ():
        label = next(iter(rows.vectors))
        questions.append({"generation": generation, "category": None, "label": label, "k": 100})
        expected.append((set(), None))
    if not questions:
        return []
    ended = subprocess.run(
        [sys.executable, "-m", "tests.chaos.neighbours"],
        input=json.dumps(questions).encode(),
        env=plant.stack.environment,
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        timeout=NEIGHBOURS_SECONDS,
        check=False,
    )
    if ended.returncode:
        return [Finding("index", f"the index could not be asked: {ended.stderr.decode()[-2000:]}")]
    findings = []
    for question, (labels, own_label), answer in zip(
        questions, expected, json.loads(ended.stdout), strict=True
    ):
        name = f"set {question['generation']}/{question['category']}"
        if answer is None:
            findings.append(Finding("index", f"{name} does not answer"))
        elif own_label is None:
            odd = sorted(labels.symmetric_difference(label for label, _ in answer))
            if odd or len(answer) != len(labels):
                findings.append(
                    Finding("index", f"{name} has {len(answer)} of {len(labels)}, odd: {odd}")
                )
        elif not any(label == own_label and cosine >= EQUAL for label, cosine in answer):
            findings.append(Finding("index", f"{name}: vector of {own_label} is another"))
    return findings
