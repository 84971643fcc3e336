"""Rounds: the owner of the index is frozen with chunks in hands, followed, and wakes up."""

from __future__ import annotations

import random
import signal
import threading
import time
import uuid
from collections import Counter
from typing import Any

import numpy as np

from broker.messages import send_chunks
from catalog.database.connection import databases
from catalog.flows.submission import NewImage, begin, open_task, write
from catalog.rows.chunks import Chunk, Stage, State
from catalog.rows.collections import CollectionRow
from catalog.rows.images import SUCCEEDED
from catalog.rows.models import ModelRow
from catalog.rows.products import ProductFields
from catalog.schema.indexes import create_indexes
from catalog.schema.version import Schema
from config.settings import settings
from tests.takeover.stack import LEASE_SECONDS, PATIENCE_SECONDS, Process, Stack, wait_until
from workers.index_process.neighbours import NoReplyError, ask_neighbours
from workers.support.resources import catalog, index_reports

MODEL = ModelRow("takeover", 32)
CATEGORY = "鞋靴"
CHUNKS = 3
CHUNK_IMAGES = 16

#: A search is given up after it, as one whose message a frozen process had taken.
ASK_SECONDS = 1.0

#: What the processes did with a chunk when they were frozen, in the order of the stage.
MOMENTS = ("sent", "claimed", "stamped", "findable", "ended")


class Rounds:
    """The rounds of a run and what they found."""

    def __init__(self, processes: Stack, seed: int) -> None:
        self._stack = processes
        self._random = random.Random(seed)
        self._rows = databases(catalog().client, settings().mongo_database)[0]
        self._moments: Counter[str] = Counter()
        self._counts: Counter[str] = Counter()
        self._not_found: set[int] = set()
        self._twice: set[int] = set()
        self._not_ended: set[int] = set()

    @property
    def is_clean(self) -> bool:
        return not (self._not_found or self._twice or self._not_ended)

    def numbers(self) -> dict[str, Any]:
        """Return what was counted, and the labels of what went wrong."""
        return {
            **{name: self._counts[name] for name in ("rounds", "takeovers", "images")},
            **{f"chunks {moment} when frozen": self._moments[moment] for moment in MOMENTS},
            "searches answered": self._counts["answered"],
            "searches declined or not answered": self._counts["declined"],
            "processes started again": self._stack.restarts,
            "not found": sorted(self._not_found),
            "twice": sorted(self._twice),
            "not ended": sorted(self._not_ended),
        }

    def table(self) -> str:
        """Return the counts as a table of Markdown."""
        lines = ["| | |", "|---|---|"]
        for name, value in self.numbers().items():
            lines.append(f"| {name} | {len(value) if isinstance(value, list) else value} |")
        return "\n".join(lines)

    def run(self, rounds: int) -> None:
        """Do so many rounds, all in the same catalogue."""
        Schema(*databases(catalog().client, settings().mongo_database)).bring_up_to_date()
        create_indexes(catalog().client, settings().mongo_database)
        catalog().models.adopt(MODEL)
        wait_until(self._owner, "no process owns the index")
        for number in range(rounds):
            wait_until(index_reports().standbys, "no process stands by")
            self._round(number)
            self._counts["rounds"] += 1

    def _owner(self) -> Process | None:
        row = self._rows["owners"].find_one({"_id": "index"})
        if row is None or not row["process"]:
            return None
        return self._stack.index_process(int(row["process"].split()[1]))

    def _epoch(self) -> int:
        row = self._rows["owners"].find_one({"_id": "index"})
        return 0 if row is None else int(row["epoch"])

    def _round(self, number: int) -> None:
        wait_until(self._owner, "no process owns the index")
        owner, epoch = self._owner(), self._epoch()
        assert owner is not None
        collection, chunks = self._take_in(number)
        labels = [label for chunk in chunks for label in chunk.labels]
        self._counts["images"] += len(labels)
        send_chunks(catalog(), chunks)
        self._aim(chunks)
        owner.signal(signal.SIGSTOP)
        self._note_moments(chunks)
        waking = threading.Thread(target=self._wake, args=(owner, epoch, self._random.random()))
        waking.start()
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not self._look(collection, labels) or waking.is_alive():
            if time.monotonic() > deadline:
                ended = catalog().images.find(labels)
                self._not_ended |= {n for n in labels if ended[n].outcome != SUCCEEDED}
                break
        waking.join()
        self._counts["takeovers"] += self._epoch() - epoch

    def _take_in(self, number: int) -> tuple[CollectionRow, list[Chunk]]:
        """Write images with their features, and leave their chunks to be sent to the index."""
        collection = catalog().collections.find_or_create("user", f"shop-{number}", 0)
        catalog().products.insert(
            collection, [ProductFields(product_id="shoe", product_name="Shoe", category=CATEGORY)]
        )
        draft = begin(
            catalog(),
            collection,
            {
                n: NewImage(
                    product_id="shoe",
                    image_id=str(n),
                    image_info="",
                    url="http://127.0.0.1:9/x.jpg",
                    payload=None,
                )
                for n in range(CHUNKS * CHUNK_IMAGES)
            },
            catalog().products.find(collection.generation, ["shoe"]),
        )
        written = write(catalog(), draft, images_per_product=0, chunk_images=CHUNK_IMAGES)
        open_task(catalog(), draft, written)
        catalog().chunks.mark_sent(written.chunks)
        for chunk in written.chunks:
            catalog().vectors.put(
                MODEL.model_id, {label: _feature(label) for label in chunk.labels}
            )
        return collection, [self._at_index(chunk.id) for chunk in written.chunks]

    @staticmethod
    def _at_index(chunk_id: str) -> Chunk:
        while True:
            (chunk,) = catalog().chunks.find([chunk_id])
            moved = catalog().chunks.resend(chunk, Stage.INDEX)
            if moved is not None:  # otherwise the sweep has just changed it
                return moved

    def _aim(self, chunks: list[Chunk]) -> None:
        """Wait for a moment at which the owner may have a chunk in hands."""
        if self._random.random() < 0.3:
            time.sleep(self._random.uniform(0, 0.15))
            return
        wanted = self._random.choice(chunks).id
        deadline = time.monotonic() + 2.0
        while time.monotonic() < deadline:
            row = self._rows["chunks"].find_one({"_id": wanted}, ["state"])
            if row is None or row["state"] != State.SENT:
                break
        time.sleep(self._random.uniform(0, 0.03))

    def _note_moments(self, chunks: list[Chunk]) -> None:
        for row in self._rows["chunks"].find({"_id": {"$in": [chunk.id for chunk in chunks]}}):
            image = self._rows["images"].find_one({"_id": row["items"][0][0]})
            assert image is not None
            if row["state"] == State.DONE:
                moment = "ended"
            elif image["outcome"] is not None:
                moment = "findable"
            elif "index_epoch" in image:
                moment = "stamped"
            else:
                moment = "claimed" if row["state"] == State.RUNNING else "sent"
            self._moments[moment] += 1

    def _wake(self, owner: Process, epoch: int, luck: float) -> None:
        """Wake the owner after its lease, or now and then within it."""
        if luck < 0.1:
            time.sleep(luck * 10 * LEASE_SECONDS)
        else:
            wait_until(lambda: self._epoch() != epoch, "no standby follows")
            # From the write of the new owner until some time after its first answers.
            time.sleep((luck - 0.1) ** 2 * 4)
        owner.signal(signal.SIGCONT)

    def _look(self, collection: CollectionRow, labels: list[int]) -> bool:
        """Search for what has succeeded by now; tell whether all has, and a search was answered."""
        rows = catalog().images.find(labels)
        succeeded = {n for n, row in rows.items() if row.outcome == SUCCEEDED}
        try:
            near = ask_neighbours(
                uuid.uuid4().hex,
                collection.generation,
                CATEGORY,
                MODEL.model_id,
                _feature(labels[0])[np.newaxis],
                10 * len(labels),
                time.monotonic() + ASK_SECONDS,
            )
        except NoReplyError:
            self._counts["declined"] += 1
            return False
        self._counts["answered"] += 1
        found = Counter(label for label, _ in near)
        self._not_found |= succeeded - found.keys()
        self._twice |= {label for label, count in found.items() if count > 1}
        return len(succeeded) == len(labels)


def _feature(label: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    values = np.random.default_rng(label).standard_normal(MODEL.dimensions).astype(np.float32)
    return np.asarray(values / np.linalg.norm(values), np.float32)
