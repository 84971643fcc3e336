"""Lost images: those that the target of a change of the model could not embed, and why.

Searches find them until the change switches to that model.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from catalog.database.connection import Row, Rows, delete_by_id, find_by_id


@dataclass(frozen=True, kw_only=True)
class Loss:
    """An image that a model can't embed; `reason` is a message of the contract."""

    label: int
    generation: str
    model_id: str
    reason: str

    @classmethod
    def from_row(cls, row: Row) -> Loss:
        """Return the loss of a row."""
        return cls(
            label=row["_id"],
            generation=row["generation"],
            model_id=row["model_id"],
            reason=row["reason"],
        )


class Losses:
    """The rows of lost images; `_id` is the label."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def put(self, generation: str, model_id: str, reasons: Mapping[int, str]) -> None:
        """Write, by label, why images of a generation have no vector of a model."""
        for label, reason in reasons.items():
            fields = {"generation": generation, "model_id": model_id, "reason": reason}
            self._rows.update_one({"_id": label}, {"$set": fields}, upsert=True)

    def among(self, labels: Sequence[int], model_id: str) -> set[int]:
        """Return the labels among `labels` that the model can't embed."""
        found = find_by_id(self._rows, labels)
        return {label for label, row in found.items() if row["model_id"] == model_id}

    def of_generation(self, generation: str, model_id: str) -> list[Loss]:
        """Return the losses of a generation for a model, in the order of their labels."""
        found = (Loss.from_row(row) for row in self._rows.find({"generation": generation}))
        losses = [loss for loss in found if loss.model_id == model_id]
        return sorted(losses, key=lambda loss: loss.label)

    def forget(self, generation: str) -> None:
        """Remove all losses of a generation."""
        self._rows.delete_many({"generation": generation})

    def remove(self, labels: Iterable[int]) -> None:
        """Remove the losses of these images."""
        delete_by_id(self._rows, labels)
