"""Makes every set of a new index process hold what the rows say, and ready.

A set with a good snapshot is ready as soon as what came after the checkpoint was added to it. All
others are compared with the rows, one collection after the other: what searches wait for first,
then the smallest.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import structlog
from numpy.typing import NDArray
from pymongo.errors import ConnectionFailure, PyMongoError

from catalog.database.connection import moment, now
from catalog.rows.collections import CollectionRow
from catalog.rows.images import Place
from catalog.store import Catalog
from indexer.key import SetKey
from workers.index_process.image_sets import named
from workers.index_process.set_repair import ModelIndex, SetMending, SetRepair

#: Rows read from MongoDB at a time to learn in which set each image belongs.
PLACE_PAGE = 20_000

#: Seconds after which a set that can't be made ready is tried again.
FAULT_SECONDS = 60.0

log = structlog.get_logger(__name__)


class Gathered(NamedTuple):
    """Labels of images by the set that their rows name: findable there, or gone."""

    findable: dict[SetKey, NDArray[np.int64]]
    gone: dict[SetKey, NDArray[np.int64]]


class Restoration:
    """Makes indexes complete and their sets ready. For one thread."""

    def __init__(
        self, catalog: Callable[[], Catalog], repair: SetRepair, memory_bytes: int = 0
    ) -> None:
        """Unload idle sets beyond `memory_bytes`; 0: never."""
        self._catalog = catalog
        self._repair = repair
        self._memory_bytes = memory_bytes
        self._between_sets: Callable[[], None] = lambda: None
        # By model and generation.
        self._again_at: dict[tuple[str, str], float] = {}
        # By model: what was shown since its checkpoint, until the sets hold none of it wrongly.
        self._to_hide: dict[str, Gathered] = {}

    def restore(
        self, of: ModelIndex, stopping: threading.Event, between_sets: Callable[[], None]
    ) -> None:
        """Make those sets of an index ready that are not; return early if `stopping` is set.

        `between_sets` is called after each set that was made ready. One that can't be made ready is
        logged and left for a later call. Raises ConnectionFailure.
        """
        self._between_sets = between_sets
        began = time.monotonic()
        waiting = self._waiting(of)
        if not waiting and of.index.is_begun and not self.is_behind(of.model.model_id):
            return
        # Read after the sets were listed: a generation without a collection now never has one
        # again.
        collections = {row.generation: row for row in self._catalog().collections.all()}
        for generation in waiting - collections.keys():
            of.index.drop_generation(generation, for_ever=False)
            of.index.learn(generation, [])
        if not of.index.is_begun and not self._begin(of, collections, stopping):
            return
        if not self._hide(of, stopping):
            return
        todo = [collections[g] for g in self._waiting(of) & collections.keys()]
        todo.sort(key=lambda one: one.image_count)
        for collection in of.index.asked.first(todo):
            if not self._compare(of, collection.generation, stopping):
                return
        if of.index.is_complete and not of.index.not_ready():
            log.info("index ready", seconds=round(time.monotonic() - began, 1))

    def is_behind(self, model_id: str) -> bool:
        """Return whether sets of a model may hold images that were gone before this process."""
        return model_id in self._to_hide

    def _waiting(self, of: ModelIndex) -> set[str]:
        """Return the generations with something to be made ready now."""
        if not of.index.is_begun:
            return of.index.generations()
        lagging = of.index.unknown() | {key.generation for key in of.index.not_ready()}
        at = time.monotonic()
        return {g for g in lagging if self._again_at.get((of.model.model_id, g), 0.0) <= at}

    def _begin(
        self, of: ModelIndex, collections: Mapping[str, CollectionRow], stopping: threading.Event
    ) -> bool:
        """Make those sets ready that snapshots and checkpoint vouch for.

        Return False if stopped.
        """
        searched = {g for g, row in collections.items() if of.model.model_id in row.models}
        until = of.index.checkpoint
        if until is not None and moment(until) > now():
            log.warning("clock of the database was set back, every set is compared")
            of.index.remove_checkpoint()
            until = None
        if until is None:
            of.index.expect(searched)
            return True
        shown = _gathered(
            self._catalog().images.places_shown(moment(until), PLACE_PAGE), stopping, searched
        )
        if shown is None:
            return False
        self._to_hide[of.model.model_id] = shown
        later = shown.findable
        unknown = of.index.lost_generations & searched
        vouched = set(of.index.whole())
        there = set(of.index.keys())
        for key in later.keys() - there:
            if key.generation not in unknown:
                of.index.create(key)
                vouched.add(key)
        of.index.expect(unknown)
        for key in vouched - later.keys():
            of.index.now_ready(key)
        behind = vouched & later.keys()
        log.info("snapshots used", sets=len(vouched), behind=len(behind), unknown=len(unknown))
        for key in of.index.asked.first(sorted(behind, key=lambda key: len(later[key]))):
            labels = later[key].tolist()
            if not self._make_ready(of, key, partial(self._catch_up, of, key, labels), stopping):
                return False
        return True

    def _hide(self, of: ModelIndex, stopping: threading.Event) -> bool:
        """Hide what was deleted or moved since the checkpoint; return False if stopped.

        Done after the sets are ready, since their rows keep these images out of every answer. If a
        fault ends it, a later call does all of it again.
        """
        shown = self._to_hide.get(of.model.model_id)
        if shown is None:
            return True
        labels: dict[str, list[NDArray[np.int64]]] = {}
        for key, some in (*shown.findable.items(), *shown.gone.items()):
            labels.setdefault(key.generation, []).append(some)
        for generation, parts in labels.items():
            of_generation = np.unique(np.concatenate(parts))
            for key in of.index.keys_of(generation) if of.index.is_known(generation) else ():
                there = shown.findable.get(key, np.empty(0, np.int64))
                others = np.setdiff1d(of_generation, there, assume_unique=True)
                if stopping.is_set():
                    return False
                if len(others):
                    hidden = self._repair.hide(of, key, others.tolist())
                    log.info("images hidden that are gone", **named(key), images=hidden)
                self._end_set(of)
        del self._to_hide[of.model.model_id]
        return True

    def _catch_up(
        self, of: ModelIndex, key: SetKey, labels: Sequence[int], stopping: threading.Event
    ) -> SetMending | None:
        """Add to a set what came after its snapshot; return None if stopped."""
        done = self._repair.supply(of, key, labels, stopping)
        if done is not None:
            log.info("set caught up", **named(key), later=len(labels), added=done.added)
        return done

    def _compare(self, of: ModelIndex, generation: str, stopping: threading.Event) -> bool:
        """Build the sets of a collection that are not ready; return False if stopped."""
        try:
            pages = self._catalog().images.places_of(generation, PLACE_PAGE)
            gathered = _gathered(pages, stopping)
        except ConnectionFailure:
            raise
        except PyMongoError:
            self._put_off(of, SetKey(generation, ""))
            return True
        if gathered is None:
            return False
        wanted = gathered.findable
        of.index.learn(generation, wanted)
        keys = of.index.not_ready_of(generation)
        for key in sorted(keys, key=lambda key: len(wanted.get(key, ()))):
            labels = wanted[key].tolist() if key in wanted else []
            if not self._make_ready(of, key, partial(self._repair.mend, of, key, labels), stopping):
                return False
        return True

    def _make_ready(
        self,
        of: ModelIndex,
        key: SetKey,
        repair: Callable[[threading.Event], SetMending | None],
        stopping: threading.Event,
    ) -> bool:
        """Repair a set and make it ready; return False if stopped.

        A set whose repair fails is put off.
        """
        try:
            if repair(stopping) is None:
                return False
        except ConnectionFailure:
            raise
        except Exception:
            self._put_off(of, key)
            return True
        of.index.now_ready(key)
        self._end_set(of)
        return True

    def _end_set(self, of: ModelIndex) -> None:
        if self._memory_bytes:
            of.index.unload_beyond(self._memory_bytes, idle_seconds=0)
        self._between_sets()

    def _put_off(self, of: ModelIndex, key: SetKey) -> None:
        log.exception("a set can't be made ready, the others go on", **named(key))
        again_at = time.monotonic() + FAULT_SECONDS
        self._again_at[of.model.model_id, key.generation] = again_at


def _gathered(
    pages: Iterable[list[Place]], stopping: threading.Event, among: Collection[str] | None = None
) -> Gathered | None:
    """Return the labels by set, of the generations `among` alone if given; None if stopped."""
    parts: dict[tuple[SetKey, bool], list[NDArray[np.int64]]] = {}
    for page in pages:
        if stopping.is_set():
            return None
        found: dict[tuple[SetKey, bool], list[int]] = {}
        for place in page:
            if among is None or place.generation in among:
                key = SetKey(place.generation, place.category)
                found.setdefault((key, place.is_findable), []).append(place.label)
        for pair, labels in found.items():
            parts.setdefault(pair, []).append(np.array(labels, np.int64))
    gathered = Gathered({}, {})
    for (key, is_findable), some in parts.items():
        kind = gathered.findable if is_findable else gathered.gone
        kind[key] = np.unique(np.concatenate(some))
    return gathered
