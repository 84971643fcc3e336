"""A box in a picture; imports no torch, so that the API process can use it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels of the upright picture; `right` and `bottom` are exclusive."""

    left: int
    top: int
    right: int
    bottom: int

    def scaled(self, size: tuple[int, int], other: tuple[int, int]) -> Box:
        """Return this box of a picture of `size` in the same picture of another size.

        It is widened to whole pixels, and is the same where the sizes are.
        """
        (width, height), (wide, high) = size, other
        return Box(
            self.left * wide // width,
            self.top * high // height,
            -(-self.right * wide // width),
            -(-self.bottom * high // height),
        )
