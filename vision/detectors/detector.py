"""What a detector is: boxes of the objects in a picture, best first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from vision.box import Box

if TYPE_CHECKING:
    from PIL import Image


class Detector(Protocol):
    """Finds the objects of a picture."""

    @property
    def fingerprint(self) -> str:
        """Text that changes with anything that could change a box."""

    def detect(self, image: Image.Image) -> list[Box]:
        """Return the boxes of an upright RGB picture, best first; empty where none is found."""
