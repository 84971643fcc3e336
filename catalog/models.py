"""Which model made the vectors of this catalogue."""

from __future__ import annotations

from dataclasses import dataclass

from pymongo.errors import DuplicateKeyError

from catalog.connection import Rows


@dataclass(frozen=True)
class ModelRow:
    """A model as its row says."""

    model_id: str
    dimensions: int


class ModelMismatchError(Exception):
    """The catalogue's vectors were made by another model than the settings choose."""


class Models:
    """One row: the model of this catalogue."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def current(self) -> ModelRow | None:
        """Give the model of the catalogue, None before the first worker loaded one."""
        row = self._rows.find_one({"_id": "current"})
        return None if row is None else ModelRow(row["model_id"], row["dimensions"])

    def adopt(self, model: ModelRow) -> None:
        """Make `model` the catalogue's, where it has none yet.

        Raises ModelMismatchError where it has another: vectors of two models can't be
        compared, so a search would answer nonsense.
        """
        try:
            self._rows.insert_one(
                {"_id": "current", "model_id": model.model_id, "dimensions": model.dimensions}
            )
        except DuplicateKeyError as error:
            current = self.current()
            if current != model:
                raise ModelMismatchError(
                    f"this catalogue was made with model {current and current.model_id}, the "
                    f"settings choose {model.model_id}; set detector and embedder as before, or "
                    "start with an empty SNAPSKU_DATA_DIR, database and Redis"
                ) from error
