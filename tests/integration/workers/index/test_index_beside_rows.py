"""The index of each engine beside the rows: a search answers what a comparison with all would.

What is expected is computed here from the rows, and not by `indexer.memory`, which is one of the
two engines: so a fault that both have is found too.

With INDEX_STEPS=50000 in the environment it takes more steps.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from broker.search_exchange import Query
from catalog.database.connection import databases
from catalog.rows.models import ModelRow
from catalog.store import Catalog
from config.settings import settings
from contract.errors import NoMatchedProduct
from indexer.hnsw.options import IndexOptions
from indexer.key import SetKey
from tests.integration.workers.index.engines import ENGINES
from tests.integration.workers.index.rows import (
    MODEL,
    PARTED,
    feature,
    features,
    put,
    put_collection,
)
from workers import search
from workers.index_process import vector_engine
from workers.index_process.catalog_index import CatalogIndex, VectorEngine

STEPS = int(os.environ.get("INDEX_STEPS", "2000"))
STEPS_AT_ONCE = 100
CATEGORIES = ("鞋靴", "服装", "其他")
#: Of similarities that differ by less, either may come first: they are added up in another order.
EQUAL = 1e-6


class Step(NamedTuple):
    """A thing that happens; the numbers choose among what is there."""

    what: str
    first: int
    second: int


WHAT = (
    *("add", "add", "add", "add", "search", "search", "search", "search", "restart", "restart"),
    *("delete", "delete late", "move", "move late", "save", "compact", "drop", "change model"),
)

number = st.integers(0, 10_000)
steps = st.lists(
    st.builds(
        Step,
        st.sampled_from(WHAT),
        number,
        number,
    ),
    min_size=STEPS_AT_ONCE,
    max_size=STEPS_AT_ONCE,
)


@dataclass(frozen=True)
class SmallBounds(IndexOptions):
    """Sets have several shards, with and without a graph, soon.

    A graph that is asked to weigh more candidates than it has vectors is exact.
    """

    exact_up_to: int = 20
    ef_floor: int = 400


class IndexBesideRows:
    """The index of a process that starts again and again, and the rows that it must show."""

    def __init__(self, catalog: Catalog, engine: VectorEngine, number: int) -> None:
        self._catalog = catalog
        self._engine = engine
        self._rows = databases(catalog.client, settings().mongo_database)[0]
        self._number = number
        self._drops = [0, 0]
        # Of each generation, once its model was changed.
        self._models: dict[str, ModelRow] = {}
        self._last = number * 1_000_000
        for table in ("images", "collections"):
            self._rows[table].delete_many({})
        #: The set of each image that can be found, by label.
        self.alive: dict[int, SetKey] = {}
        self.index = self._start()

    def take(self, step: Step) -> None:
        """Do what a step says."""
        if step.what == "add":
            self._add(1 + step.first % 40, self._key(step.second))
        elif step.what == "search":
            self._search(step.first, step.second)
        elif step.what.startswith("delete"):
            self._delete(step.first, 1 + step.second % 10, is_late=step.what.endswith("late"))
        elif step.what.startswith("move"):
            self._move(step.first, step.second, is_late=step.what.endswith("late"))
        elif step.what == "save":
            self._save()
        elif step.what == "compact":
            for index in self.index.restore():
                index.compact(0.2, Event())
        elif step.what == "restart":
            if step.first % 2:
                self._save()
            self.index = self._start()
        elif step.what == "drop":
            self._drop(step.first)
        else:
            self._change_model(step.first)

    def _start(self) -> CatalogIndex:
        index = CatalogIndex(lambda: self._catalog, self._engine)
        index.restore()
        for model_id, restored in index._opened.items():
            for key in restored.keys():  # noqa: SIM118
                there = {label for label, one in self.alive.items() if one == key}
                is_searched = self._model(key.generation).model_id == model_id
                assert restored.live_labels(key) == (there if is_searched else set())
        return index

    def _model(self, generation: str) -> ModelRow:
        return self._models.get(generation, MODEL)

    def _save(self) -> None:
        for index in self.index.restore():
            for key in index.unsaved():
                assert index.save(key)
        self.index.keep_checkpoints()
        time.sleep(0.002)  # what comes next is of another millisecond

    def _generation(self, choice: int) -> str:
        return f"{self._number}-{choice % 2}-{self._drops[choice % 2]}"

    def _key(self, choice: int) -> SetKey:
        return SetKey(self._generation(choice), CATEGORIES[choice // 2 % 3])

    def _some(self, choice: int, count: int) -> list[int]:
        labels = sorted(self.alive)
        start = choice % len(labels) if labels else 0
        return labels[start : start + count]

    def _add(self, count: int, key: SetKey) -> None:
        labels = range(self._last + 1, self._last + 1 + count)
        self._last += count
        self.index.refresh(put(self._catalog, labels, key, self._model(key.generation)))
        self.alive |= dict.fromkeys(labels, key)

    def _delete(self, choice: int, count: int, *, is_late: bool) -> None:
        labels = self._some(choice, count)
        self._catalog.images.delete(labels)
        for label in labels:
            del self.alive[label]
        if not is_late:
            self.index.remove(self._catalog.images.find(labels).values())

    def _move(self, choice: int, where: int, *, is_late: bool) -> None:
        """Change the category of an image; a late one is seen by the process that starts next."""
        # Of a few, so that one comes back to a set in which it was marked.
        for label in self._some(choice % 5, 1):
            key = SetKey(self.alive[label].generation, CATEGORIES[where % 3])
            self._rows["images"].update_one({"_id": label}, {"$set": {"category": key.category}})
            self._catalog.images.ask_index([label])
            self.alive[label] = key
            if is_late:
                self.index = self._start()
            self.index.refresh(list(self._catalog.images.find([label]).values()))

    def _drop(self, choice: int) -> None:
        generation = self._generation(choice)
        self._rows["collections"].delete_one({"_id": f"user/{generation}"})
        self._rows["images"].delete_many({"generation": generation})
        self.index.drop(generation)
        self.alive = {n: key for n, key in self.alive.items() if key.generation != generation}
        self._drops[choice % 2] += 1

    def _change_model(self, choice: int) -> None:
        """Embed all images of a collection by its other model, switch, and forget the one before.

        The one has a vector of an image, the other several.
        """
        generation = self._generation(choice)
        before = self._model(generation)
        target = self._models[generation] = MODEL if before == PARTED else PARTED
        labels = [label for label, key in self.alive.items() if key.generation == generation]
        made = {label: features(label, target) for label in labels}
        self._catalog.vectors.put(target.model_id, made)
        put_collection(self._catalog, generation, model=target)
        # As the keeper does, once something has opened the index of the target.
        self.index._open(target.model_id)
        self.index.restore()
        self.index.refresh(list(self._catalog.images.find(labels).values()))
        self._catalog.vectors.keep_only(labels, {target.model_id})
        self.index.retire(generation, before.model_id)

    def _search(self, first: int, second: int) -> None:
        generation, topk = self._generation(first), 1 + second % 200
        category = None if first % 3 == 0 else CATEGORIES[first // 2 % 3]
        model = self._model(generation)
        label = max(self.alive, default=1)
        asked = np.stack([feature(10**9 + first + number) for number in range(1 + second % 3)])
        asked = asked if first % 5 else features(label, model)
        query = Query(b"", None, generation, category, topk, None, -1.0, False, "r", model.model_id)
        try:
            found = search._nearest("q", query, model.model_id, asked, 0.0)[:topk]
        except NoMatchedProduct:
            found = []
        there = [
            label
            for label, key in self.alive.items()
            if key.generation == generation and category in (None, key.category)
        ]
        exact = dict(zip(there, self._similarities(there, model, asked), strict=True))
        best = sorted(exact.values(), reverse=True)[:topk]
        labels = [image.label for image, _ in found]
        assert len(set(labels)) == len(labels) == len(best)
        assert set(labels) <= exact.keys()
        for label, similarity in zip(labels, best, strict=True):
            assert abs(exact[label] - similarity) < EQUAL, "another image is nearer"

    @staticmethod
    def _similarities(labels: list[int], model: ModelRow, asked: np.ndarray) -> list[float]:
        """Return the cosine of the best pair of a part of each image and a vector of the query."""
        queries = asked.astype(np.float64).T
        return [float((features(label, model) @ queries).max()) for label in labels]


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("engine_name", "steps_in_all"), [("hnsw", STEPS), ("memory", STEPS // 4)])
@pytest.mark.usefixtures("start", "no_margin")
def test_a_search_gives_the_images_of_an_exact_comparison_in_their_order(
    catalog: Catalog,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    engine_name: str,
    steps_in_all: int,
) -> None:
    monkeypatch.setattr(vector_engine, "IndexOptions", SmallBounds)
    monkeypatch.setattr(search, "catalog", lambda: catalog)
    monkeypatch.setattr(catalog.collections, "is_alive", lambda *_: True)
    catalog.models.adopt(MODEL, PARTED)
    examples = 0
    taken: list[Step] = []

    @hypothesis_settings(
        max_examples=max(1, steps_in_all // STEPS_AT_ONCE),
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        derandomize=STEPS == 2000,
        database=None,
    )
    @given(steps)
    def runs(chosen: list[Step]) -> None:
        nonlocal examples
        examples += 1
        beside = IndexBesideRows(
            catalog, ENGINES[engine_name](60, tmp_path / f"sets-{examples}"), examples
        )

        def ask(
            _query_id: str,
            generation: str,
            category: str | None,
            model_id: str,
            vectors: np.ndarray,
            k: int,
            **_: float,
        ) -> list[tuple[int, float]]:
            near = beside.index.search(generation, category, vectors, k, model_id)
            return list(zip(near.labels.tolist(), near.similarities.tolist(), strict=True))

        monkeypatch.setattr(search, "ask_neighbours", ask)
        for step in chosen:
            taken.append(step)
            beside.take(step)

    runs()
    assert len(taken) >= steps_in_all
