"""What a set of vectors is called. Knows nothing of what is in it."""

from __future__ import annotations

from typing import NamedTuple


class SetKey(NamedTuple):
    """Names a set: the generation of a collection, and a category in it."""

    generation: str
    category: str
