"""The key of a set of vectors."""

from __future__ import annotations

from typing import NamedTuple


class SetKey(NamedTuple):
    """The key of a set: the generation of a collection, and a category in it."""

    generation: str
    category: str
