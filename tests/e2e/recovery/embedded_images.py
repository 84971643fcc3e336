"""Which images a stack embedded, and how often, as its log says."""

from __future__ import annotations

import contextlib
import json
from collections import Counter

from tests.e2e.stack import Stack


class Embedded:
    """Which images the vision worker embedded, from its log lines in JSON."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._before = len(stack.log("vision"))

    def times(self) -> Counter[int]:
        """How often each label was embedded since this object was made."""
        counted: Counter[int] = Counter()
        for line in self._stack.log("vision")[self._before :].splitlines():
            # A kill may cut a line short.
            with contextlib.suppress(ValueError):
                entry = json.loads(line)
                if entry.get("event") == "embedded":
                    counted.update(entry["labels"])
        return counted

    def twice(self) -> int:
        """Return how many embeddings were made more than once."""
        return sum(count - 1 for count in self.times().values())
