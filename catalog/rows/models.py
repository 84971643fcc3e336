"""The models of this catalogue.

Each collection's row names the model that its searches use. This table has the model of new
collections, and every model that a worker ever loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from catalog.database.connection import Row, Rows, insert_new
from catalog.rows.collections import next_model

_CURRENT = "current"
_NEXT = "next"
_FIRST = "first"


@dataclass(frozen=True)
class ModelRow:
    """A model as its row says; `parts` is the most vectors of an image."""

    model_id: str
    dimensions: int
    parts: int = field(default=1, kw_only=True)

    @classmethod
    def from_row(cls, row: Row) -> ModelRow:
        """Return the model of a row; rows of before have one vector of an image."""
        return cls(row["model_id"], row["dimensions"], parts=row.get("parts", 1))


class ModelMismatchError(Exception):
    """The catalogue needs vectors of a model that the settings do not choose."""


class Models:
    """A row for each model, and one each for the current, the next and the first."""

    def __init__(self, rows: Rows, collections: Rows) -> None:
        self._rows = rows
        self._collections = collections

    def current(self) -> ModelRow | None:
        """Return the model of new collections, None before a worker loaded one."""
        return self._named(_CURRENT)

    def next(self) -> ModelRow | None:
        """Return the next model that a worker loaded last, None if it loaded no second one."""
        return self._named(_NEXT)

    def first(self) -> ModelRow | None:
        """Return the first model that this catalogue had, None before a worker loaded one."""
        return self._named(_FIRST) or self.current()

    def _named(self, role: str) -> ModelRow | None:
        row = self._rows.find_one({"_id": role})
        return None if row is None else ModelRow.from_row(row)

    def known(self) -> dict[str, ModelRow]:
        """Return every model that a worker ever loaded, by model id."""
        found = (ModelRow.from_row(row) for row in self._rows.find({}))
        return {model.model_id: model for model in found}

    def in_use(self) -> set[str]:
        """Return the ids of the models that new collections, searches and changes need."""
        current = self.current()
        used = set() if current is None else {current.model_id}
        for row in self._collections.find({}, ["model_id", "change"]):
            used |= {model for model in (row.get("model_id"), next_model(row)) if model}
        return used

    def adopt(
        self,
        model: ModelRow,
        following: ModelRow | None = None,
        served: Mapping[str, ModelRow] | None = None,
    ) -> None:
        """Write the models that a worker loaded: `model`, and the next one, if any.

        The first model ever becomes that of new collections. `served` has the ids of other models
        that the same networks serve, each with the one of these that new collections get in its
        place. Raises ModelMismatchError if the catalogue needs a model that is not among them, or
        knows one with other dimensions: vectors of two models can't be compared, so searches would
        return meaningless results.
        """
        loaded = [model] if following is None else [model, following]
        served = served or {}
        insert_new(self._rows, [{"_id": _CURRENT, **_fields(model)}])
        current = self.current() or model
        missing = self.in_use() - {one.model_id for one in loaded} - served.keys()
        if missing or not self._agree(loaded):
            made_with = ", ".join(sorted(missing)) or current.model_id
            raise ModelMismatchError(
                f"this catalogue was made with model {made_with}, the settings choose "
                f"{', '.join(one.model_id for one in loaded)}; set detector and embedder as "
                "before, name the new ones in SNAPSKU_NEXT_DETECTOR and SNAPSKU_NEXT_EMBEDDER, "
                "and run `snapsku models change --all`"
            )
        first = current
        if current.model_id in served:
            current = served[current.model_id]
            self.begin_with(current)
        insert_new(
            self._rows,
            [
                {"_id": _FIRST, **_fields(first)},
                *({"_id": f"model {one.model_id}", **_fields(one)} for one in loaded),
            ],
        )
        if following is None:
            self._rows.delete_one({"_id": _NEXT})
        else:
            self._rows.update_one({"_id": _NEXT}, {"$set": _fields(following)}, upsert=True)
        # Collections that were created before any model was loaded.
        self._collections.update_many({"model_id": None}, {"$set": {"model_id": current.model_id}})

    def begin_with(self, model: ModelRow) -> None:
        """Make a model that of new collections."""
        self._rows.update_one({"_id": _CURRENT}, {"$set": _fields(model)}, upsert=True)

    def _agree(self, loaded: list[ModelRow]) -> bool:
        known = self.known()
        return all(known.get(one.model_id, one) == one for one in loaded)


def _fields(model: ModelRow) -> dict[str, str | int]:
    return {"model_id": model.model_id, "dimensions": model.dimensions, "parts": model.parts}
