"""The detectors of torchvision's registry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torchvision

from vision.box import Box
from vision.weights import content_hash, load_torchvision

if TYPE_CHECKING:
    from PIL import Image


class TorchvisionDetector:
    """A model of torchvision's detection registry."""

    def __init__(
        self, name: str, weights: str, device: str = "cpu", score_threshold: float = 0.5
    ) -> None:
        """Load the model `name`; `weights` is a registered name or the path of a state_dict.

        Boxes with a score below `score_threshold` are left out. Raises ValueError for an unknown
        name or a file that does not fit.
        """
        registry = torchvision.models.detection
        model, self._transforms = load_torchvision(name, weights, registry, weights_backbone=None)
        self._model = model.to(device)
        self._device = device
        self._score_threshold = score_threshold
        self.fingerprint = (
            f"{name}({content_hash(model)}, {self._transforms!r}, score={score_threshold})"
        )

    def detect(self, image: Image.Image) -> list[Box]:
        """Return the boxes of the objects found, highest score first; [] if there are none."""
        with torch.inference_mode():
            found: dict[str, Any] = self._model([self._transforms(image).to(self._device)])[0]
        scores = found["scores"].cpu().numpy()
        corners = found["boxes"].cpu().numpy()
        boxes = []
        for index in np.argsort(-scores, kind="stable"):
            if not scores[index] >= self._score_threshold:
                break
            left, top = np.maximum(np.floor(corners[index][:2]), 0).astype(int)
            right, bottom = np.minimum(np.ceil(corners[index][2:]), image.size).astype(int)
            if left < right and top < bottom:
                boxes.append(Box(int(left), int(top), int(right), int(bottom)))
        return boxes
