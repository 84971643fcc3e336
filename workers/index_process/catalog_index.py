"""The catalogue's vectors in sets: loaded from MongoDB, kept current by the index process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol

import numpy as np
import structlog
from numpy.typing import NDArray
from pymongo.errors import ConnectionFailure

from catalog.database.connection import now, stamp
from catalog.rows.images import ImageRow
from catalog.rows.models import ModelRow
from catalog.store import Catalog
from config.steady_clock import steady_seconds
from contract.errors import InsertImageError
from indexer.key import SetKey
from indexer.neighbours import Neighbours, no_neighbours
from indexer.set_state import SetState
from indexer.vector_store import VectorStore
from indexer.vectors import in_one_array
from workers.index_process.bad_vectors import BadVectors
from workers.index_process.health import IndexHealth
from workers.index_process.image_sets import by_set
from workers.index_process.restoration import Restoration
from workers.index_process.set_repair import ModelIndex, SetMending, SetRepair

#: Seconds of a pause if MongoDB can't be reached.
UNREACHABLE_PAUSE = 2.0

#: Seconds for which the loss of a snapshot is reported.
LOST_SECONDS = 600.0

#: Seconds by which a checkpoint must have moved to be written.
CHECKPOINT_SECONDS = 30.0

#: Largest share of the time that is spent on checkpoints: one lists the folders of all sets, 0.4 s
#: for 100,000.
CHECKPOINT_SHARE = 0.01

#: Seconds that a checkpoint stays behind: the index is changed before the row says so, and the
#: clock of the database may be adjusted by a little.
MARGIN_SECONDS = 60.0

#: A clock of the database that gained more seconds between two looks was set forward.
STEP_SECONDS = 10.0

#: Images with bad vectors that are reported by name, at most.
BAD_IMAGES = 20

log = structlog.get_logger(__name__)


class VectorEngine(Protocol):
    """Opens the stores of vectors, one for each model."""

    def __call__(self, catalog: Catalog, model: ModelRow, *, is_complete: bool) -> VectorStore:
        """Return the store of a model, with its snapshots if the engine keeps any.

        `is_complete`: whether all of its sets are known from the start.
        """


class CatalogIndex:
    """Vector indexes, one for each model, that know images by their rows.

    The index of a model holds every findable image that has a vector of that model. There is none
    until a model is known.
    """

    def __init__(
        self,
        catalog: Callable[[], Catalog],
        engine: VectorEngine,
        memory_bytes: int = 0,
        is_owner: Callable[[], bool] = lambda: True,
    ) -> None:
        """Open stores by `engine`, and unload idle sets beyond `memory_bytes`; 0: no limit.

        `catalog` is called at the first use, since a process may still fork before. `is_owner`
        returns whether no other process can have changed the index up to now.
        """
        self._catalog = catalog
        self._engine = engine
        self._memory_bytes = memory_bytes
        self._opening = threading.Lock()
        # By model, each replaced as a whole. A search uses one of them and so never mixes two.
        self._opened: dict[str, VectorStore] = {}
        self._known: dict[str, ModelRow] | None = None
        self._is_owner = is_owner
        #: When this process ceased to own the index, by the database's time.
        self._ceased: datetime | None = None
        #: How far the database's time was ahead of the steady clock, and when it was set forward.
        self._ahead: float | None = None
        self._set_forward_at = float("-inf")
        self._checkpoint_again_at = float("-inf")
        self._bad = BadVectors(catalog)
        self._repair = SetRepair(catalog, self._bad)
        self._restoration = Restoration(catalog, self._repair, memory_bytes)

    def restore(
        self,
        stopping: threading.Event | None = None,
        between_sets: Callable[[list[VectorStore]], None] = lambda _: None,
    ) -> list[VectorStore]:
        """Make every set hold what the rows say, and ready; return early if `stopping` is set.

        Return the index of each model, and call `between_sets` with the same after each set; []
        while there is no model or no database. Other threads may use the indexes meanwhile. For one
        thread at a time.
        """
        stopping = stopping or threading.Event()

        def between() -> None:
            between_sets(list(self._opened.values()))

        try:
            for model_id, index in self._all().items():
                if not stopping.is_set():
                    self._restoration.restore(self._of(model_id, index), stopping, between)
        except ConnectionFailure as error:
            log.warning("database unreachable, sets are not restored", fault=str(error))
            stopping.wait(UNREACHABLE_PAUSE)
        return list(self._opened.values())

    def keep_checkpoints(self) -> None:
        """Write the checkpoints that have moved.

        A checkpoint is a time: all changes before it are in the snapshots.
        """
        # In this order: an owner at the second moment was the only one at the first.
        ceased, at = self._ceased, self._ceased or now()
        if ceased is None and not self._is_owner():
            return
        # A change before the clock was set forward has an earlier time than its age tells.
        longest = self._seconds_since_set_forward(at) if ceased is None else float("inf")
        for model_id, index in self._opened.items():
            if self._restoration.is_behind(model_id):
                continue
            age = index.unsaved_seconds()
            # After the end of ownership, a change of any age may be one from before it.
            is_known = age == 0.0 if ceased else age < longest
            if not is_known or not index.is_complete or index.not_ready():
                continue
            until = stamp(at - timedelta(seconds=age + MARGIN_SECONDS))
            moved = (until - (index.checkpoint or 0)) / 1000
            # A checkpoint that lies after changes to come, since the clock was set back, claims too
            # much.
            claims_too_much = moved <= -CHECKPOINT_SECONDS
            is_dear = time.monotonic() < self._checkpoint_again_at and ceased is None
            if claims_too_much or (
                moved >= CHECKPOINT_SECONDS and index.is_checkpoint_due and not is_dear
            ):
                began = time.monotonic()
                index.keep_checkpoint(until)
                seconds = time.monotonic() - began
                self._checkpoint_again_at = began + seconds / CHECKPOINT_SHARE

    def _seconds_since_set_forward(self, at: datetime) -> float:
        steady = steady_seconds()
        ahead = at.timestamp() - steady
        if self._ahead is not None and ahead - self._ahead > STEP_SECONDS:
            self._set_forward_at = steady
        self._ahead = ahead
        return steady - self._set_forward_at

    def cease(self) -> None:
        """Note, as its owner, that another process may change the index from now on."""
        at = now()
        if self._is_owner():
            self._ceased = at

    def add(self, images: Iterable[ImageRow]) -> dict[int, set[str]]:
        """Add all good vectors of images, each to the index of its model.

        Return by label the models whose index has the image now; images without any have an empty
        set.
        """
        rows = {image.label: image for image in images}
        added: dict[int, set[str]] = {label: set() for label in rows}
        stored = self._catalog().vectors.of_models(list(rows))
        for model_id in {model_id for models in stored.values() for model_id in models}:
            index = self._open(model_id)
            if index is None:
                continue  # of a model that no worker ever loaded
            made = {n: models[model_id] for n, models in stored.items() if model_id in models}
            good = self._bad.sift(self._of(model_id, index).model, made)
            for key, labels in by_set(rows[label] for label in good).items():
                index.add(key, *in_one_array({label: good[label] for label in labels}))
            for label in good:
                added[label].add(model_id)
        return added

    def bad(self, labels: Iterable[int], model_id: str) -> set[int]:
        """Return those among `labels` whose vector of a model was found to be bad."""
        return self._bad.among(labels, model_id)

    def lose_bad(self, generation: str, labels: Iterable[int], model_id: str) -> None:
        """Record the images whose vector of a model is bad as lost for that model."""
        lost = dict.fromkeys(self.bad(labels, model_id), InsertImageError.message)
        self._catalog().losses.put(generation, model_id, lost)

    def remove(self, images: Collection[ImageRow]) -> None:
        """Hide images from every search."""
        sets = by_set(images)
        self._bad.forget(image.label for image in images)
        for index in self._all().values():
            for key, labels in sets.items():
                index.mark_deleted(key, labels)
        self._catalog().images.shown([image.label for image in images])

    def refresh(self, images: Sequence[ImageRow]) -> dict[int, set[str]]:
        """Put findable images into the sets that their rows name, and hide them in any other.

        Return by label the models whose index has the image. May be repeated.
        """
        sets = by_set(images)
        for index in self._all().values():
            for key, labels in sets.items():
                index.revive(key, labels)
        added = self.add(images)
        for index in self._all().values():
            for key, labels in sets.items():
                for other in index.keys_of(key.generation):
                    if other != key:
                        index.mark_deleted(other, labels)
        self._catalog().images.shown([image.label for image in images])
        return added

    def search(
        self,
        generation: str,
        category: str | None,
        vectors: NDArray[np.float32],
        k: int,
        model_id: str | None = None,
    ) -> Neighbours:
        """Return the `k` labels of a collection nearest to any of the vectors (q, dimensions).

        `model_id` is the model that made them, by default that of new collections; there are no
        neighbours if no worker ever loaded it. Raises SetNotReadyError while a set that the search
        needs is loaded or built.
        """
        if model_id is None:
            current = self._catalog().models.current()
            model_id = "" if current is None else current.model_id
        index = self._open(model_id)
        if index is None:
            return no_neighbours()
        keys = index.keys_of(generation) if category is None else [SetKey(generation, category)]
        return index.search(keys, vectors, k)

    def drop(self, generation: str) -> int:
        """Forget the images of a generation and its snapshots; return how many sets it had.

        May be repeated. What is added to the generation later is not kept.
        """
        return sum(index.drop_generation(generation) for index in self._all().values())

    def retire(self, generation: str, model_id: str) -> int:
        """Forget what one model made of a generation; return how many sets that were.

        The sets may come back.
        """
        index = self._open(model_id)
        return 0 if index is None else index.drop_generation(generation, for_ever=False)

    def lacking(self, images: Sequence[ImageRow], model_id: str) -> list[ImageRow] | None:
        """Return the images that a search by a model would not find.

        None while that is unknown, since a set is not ready.
        """
        index = self._open(model_id)
        if index is None:
            return list(images)
        by_key = {row.label: SetKey(row.generation, row.category) for row in images}
        generations = {key.generation for key in by_key.values()}
        if not all(index.is_known(generation) for generation in generations):
            return None
        not_ready = {key for one in generations for key in index.not_ready_of(one)}
        if not not_ready.isdisjoint(by_key.values()):
            return None
        return [row for row in images if not index.contains(by_key[row.label], row.label)]

    def state(self) -> dict[SetKey, SetState]:
        """Return the state of every set of the model of new collections; {} without a model."""
        current = self._catalog().models.current()
        index = None if current is None else self._open(current.model_id)
        return {} if index is None else index.state()

    def health(self) -> IndexHealth:
        """Return the health of the index, as far as this process knows; asks no database."""
        indexes = list(self._opened.values())
        not_saved = [fault for index in indexes for fault in index.not_saved().values()]
        bad = self._bad.images
        return IndexHealth(
            # Complete without an index only if the database was asked and knows no model.
            is_complete=all(index.is_complete for index in indexes)
            if indexes
            else self._known == {},
            sets=sum(index.set_count for index in indexes),
            sets_not_ready=sum(len(index.not_ready()) for index in indexes),
            snapshots_lost=sum(index.lost_within(LOST_SECONDS) for index in indexes),
            sets_not_saved=len(not_saved),
            save_fault=not_saved[-1] if not_saved else "",
            bad_vectors=len(bad),
            bad_images=", ".join(bad[:BAD_IMAGES]),
        )

    def _all(self) -> dict[str, VectorStore]:
        """Return the index of every model that is in use or was opened."""
        with self._opening:
            if not self._opened:
                before = self._known
                for model_id in sorted(self._look().keys() & self._catalog().models.in_use()):
                    self._make(model_id, before)
            return dict(self._opened)

    def _open(self, model_id: str) -> VectorStore | None:
        """Return the index of a model, opened if need be; None if no worker ever loaded it."""
        self._all()
        with self._opening:
            if model_id not in self._opened:
                before = self._known
                if model_id in self._look():
                    self._make(model_id, before)
            return self._opened.get(model_id)

    def _of(self, model_id: str, index: VectorStore) -> ModelIndex:
        return ModelIndex((self._known or {})[model_id], index)

    def _look(self) -> dict[str, ModelRow]:
        self._known = self._catalog().models.known()
        return self._known

    def _make(self, model_id: str, known_before: Mapping[str, ModelRow] | None) -> None:
        # If the model was unknown when this process last looked, each of its vectors comes through
        # this process.
        is_new = known_before is not None and model_id not in known_before
        model = (self._known or {})[model_id]
        index = self._engine(self._catalog(), model, is_complete=is_new)
        self._opened = {**self._opened, model_id: index}

    def counts(self, generation: str, model_id: str) -> dict[str, int] | None:
        """Return how many images the sets of a model have, by category.

        None while a set is not ready, or without an index of the model.
        """
        index = self._open(model_id)
        if index is None or not index.is_known(generation):
            return None
        keys = index.keys_of(generation)
        if index.not_ready_of(generation):
            return None
        return {key.category: count for key in keys if (count := index.count(key))}

    def mend(
        self, generation: str, model_id: str, labels: Mapping[str, list[int]], stop: threading.Event
    ) -> SetMending | None:
        """Make the sets of a model hold the images that the rows want: `labels`, by category.

        Return None if stopped, or without an index of the model.
        """
        index = self._open(model_id)
        if index is None:
            return None
        added = marked = 0
        for key in {SetKey(generation, c) for c in labels}.union(index.keys_of(generation)):
            of = self._of(model_id, index)
            done = self._repair.mend(of, key, labels.get(key.category, []), stop)
            if done is None:
                return None
            added, marked = added + done.added, marked + done.marked
        return SetMending(added, marked)
