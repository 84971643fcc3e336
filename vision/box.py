"""A box in a picture. Knows of no model, so that whoever has no torch can speak of boxes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels of the upright picture; right and bottom are not in it."""

    left: int
    top: int
    right: int
    bottom: int
