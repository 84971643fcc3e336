"""The thread that compares sets with the rows while the index is in use, and mends them.

At its start the index is made to hold what the rows say. From then on every change reaches it by a
message. Without this thread, a message that had no effect, by a fault that is not known, would only
be noticed at the next start.

Each round compares the number of images in each set. A collection that differs twice is compared
image by image, and so is one collection in turn, since two faults may cancel out in a number.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import structlog
from pymongo.errors import PyMongoError

from catalog.flows.reembedding import pages_of_images
from catalog.rows.collections import CollectionRow
from catalog.store import Catalog
from indexer.vector_store import SetNotReadyError
from workers.index_process.catalog_index import CatalogIndex

#: Largest share of its time that this thread works.
SHARE = 0.05

#: Seconds after which a difference is checked again, since an image on its way is in its set before
#: it gets its outcome.
AGAIN_SECONDS = 10.0

log = structlog.get_logger(__name__)

#: Images of a collection by category: how many the rows say, and how many the sets hold.
Counts = tuple[dict[str, int], dict[str, int]]


class Comparison:
    """A thread that runs from `start` to `begin_stop`."""

    def __init__(
        self,
        catalog: Callable[[], Catalog],
        shards: CatalogIndex,
        seconds: float,
        again_seconds: float = AGAIN_SECONDS,
    ) -> None:
        """Begin a round at most every `seconds`, the first one after that time."""
        self._catalog = catalog
        self._shards = shards
        self._seconds = seconds
        self._again_seconds = again_seconds
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="index comparison", daemon=True)
        # By generation: differences that are right, such as images without a vector.
        self._explained: dict[str, Counts] = {}
        self._last_in_turn = ""

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def begin_stop(self) -> None:
        """Let the thread end soon; safe in a signal handler."""
        self._stopping.set()

    def _run(self) -> None:
        while not self._stopping.wait(self._seconds):
            try:
                self.compare()
            except PyMongoError as error:
                log.warning("index not compared with the rows", fault=str(error))
            except Exception:
                # The thread must live: the next round may succeed.
                log.exception("comparison of the index with the rows failed")

    def compare(self) -> None:
        """Do one round. Raises PyMongoError."""
        collections = sorted(self._catalog().collections.all(), key=lambda one: one.generation)
        suspects = [one for one in collections if self._difference(one)]
        if suspects and self._stopping.wait(self._again_seconds):
            return
        self._explained = {
            one.generation: self._explained[one.generation]
            for one in collections
            if one.generation in self._explained
        }
        for collection in suspects:
            # Checked a second time, since a difference that passes is of an image on its way.
            difference = self._difference(collection)
            if difference and self._mend(collection):
                self._explained[collection.generation] = difference
        later = [one for one in collections if one.generation > self._last_in_turn]
        for collection in (later or collections)[:1]:
            self._last_in_turn = collection.generation
            self._mend(collection)

    def _difference(self, collection: CollectionRow) -> Counts | None:
        """Return both numbers of images if they differ and that is not explained, else None."""
        began = time.monotonic()
        try:
            if self._stopping.is_set() or collection.model_id is None:
                return None
            found = self._shards.counts(collection.generation, collection.model_id)
            if found is None:
                return None
            counts = self._catalog().images.count_findable(collection.generation), found
            is_known = self._explained.get(collection.generation) == counts
            return None if is_known or counts[0] == counts[1] else counts
        finally:
            self._rest(began)

    def _mend(self, collection: CollectionRow) -> bool:
        """Compare a collection image by image and mend it; return whether nothing differed.

        False if it could not be compared, too.
        """
        wanted: dict[str, list[int]] = {}
        model_id = collection.model_id
        if model_id is None or self._shards.counts(collection.generation, model_id) is None:
            return False
        began = time.monotonic()
        for page in pages_of_images(self._catalog(), collection.generation):
            models = self._catalog().vectors.models([row.label for row in page])
            for row in page:
                if model_id in models.get(row.label, ()):
                    wanted.setdefault(row.category, []).append(row.label)
            self._rest(began)
            if self._stopping.is_set():
                return False
            began = time.monotonic()
        try:
            done = self._shards.mend(collection.generation, model_id, wanted, self._stopping)
        except SetNotReadyError:
            return False
        self._rest(began)
        if done is None:
            return False
        if any(done):
            log.warning(
                "index differed from the rows, mended",
                collection=collection.key,
                added=done.added,
                removed=done.marked,
            )
        return not any(done)

    def _rest(self, began: float) -> None:
        """Pause so long that the work since `began` takes at most SHARE of the time."""
        self._stopping.wait((time.monotonic() - began) * (1 / SHARE - 1))
