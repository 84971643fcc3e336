"""The interface of a detector."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from vision.box import Box

if TYPE_CHECKING:
    from PIL import Image


class Detector(Protocol):
    """Finds the objects in a picture."""

    @property
    def fingerprint(self) -> str:
        """A text that differs whenever boxes could differ; part of the model id."""

    def detect(self, image: Image.Image) -> list[Box]:
        """Return the boxes of an upright RGB picture, best first; [] if none is found."""
