"""Training of the default detector: scenes, steps, checkpoints, and what comes of it."""

from __future__ import annotations

import argparse
import hashlib
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from torch.optim import Optimizer
from torchvision.models.detection import FCOS

from tools.training import detector
from tools.training.composer import compose
from tools.training.detector import Sample
from tools.training.sources import Library
from vision.detectors import product_network

SMALL_SIDE = 160


def cutout(shape: str, colour: str) -> Image.Image:
    figure = Image.new("RGBA", (120, 90))
    getattr(ImageDraw.Draw(figure), shape)((10, 10, 110, 80), fill=colour)
    return figure


@pytest.fixture(scope="module")
def library() -> Library:
    rng = np.random.default_rng(1)
    places = tuple(
        Image.fromarray(rng.integers(60, 190, (60, 80, 3), dtype=np.uint8)).resize((640, 480))
        for _ in range(3)
    )
    cutouts = tuple(
        (cutout(shape, colour),)
        for shape in ("ellipse", "rectangle")
        for colour in ("red", "gold", "navy")
    )
    return Library(cutouts, places, places)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network for pictures of a quarter of the area: steps of training take seconds."""
    monkeypatch.setattr(product_network, "INPUT_SIDE", SMALL_SIDE)
    monkeypatch.setattr(detector, "INPUT_SIDE", SMALL_SIDE)


def test_the_same_chance_gives_the_same_scene(library: Library) -> None:
    one, same, other = (compose(library, random.Random(seed)) for seed in (5, 5, 6))
    assert one.picture.tobytes() == same.picture.tobytes()
    assert one.boxes == same.boxes
    assert one.picture.tobytes() != other.picture.tobytes()


def test_boxes_lie_within_the_scene_and_some_scenes_have_none_or_several(library: Library) -> None:
    counts = set()
    for seed in range(120):
        scene = compose(library, random.Random(seed))
        counts.add(len(scene.boxes))
        for box in scene.boxes:
            assert 0 <= box.left < box.right <= scene.picture.width
            assert 0 <= box.top < box.bottom <= scene.picture.height
    assert {0, 1, 2, 3} <= counts


def test_a_few_steps_make_the_loss_fall(library: Library, small: None) -> None:
    torch.manual_seed(1)
    network = detector.untrained().train()
    optimizer = detector.optimizer_of(network)
    scenes = detector.Scenes(library, "1")
    batch = [scenes[number] for number in range(4)]
    losses = [detector.take_step(network, optimizer, batch, 0.3) for _ in range(6)]
    assert losses[-1] < 0.8 * losses[0], losses


def test_the_first_blocks_keep_their_weights(library: Library, small: None) -> None:
    network = detector.untrained().train()
    before = {name: one.clone() for name, one in network.backbone.state_dict().items()}
    scenes = detector.Scenes(library, "1")
    detector.take_step(network, detector.optimizer_of(network), [scenes[0], scenes[1]], 1.0)
    after = network.backbone.state_dict()
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert "early" not in changed
    assert {"middle", "late", "from_early", "from_middle", "from_late"} <= changed


def test_a_run_that_ended_early_goes_on_from_its_checkpoint(
    library: Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detector, "BATCH", 2)
    monkeypatch.setattr(detector, "CHECKPOINT_STEPS", 1)
    monkeypatch.setattr(detector, "VALIDATION_SCENES", range(6))
    taken: list[str] = []
    take_step = detector.take_step

    def noted(network: FCOS, optimizer: Optimizer, batch: Sequence[Sample], share: float) -> float:
        taken.append(hashlib.sha256(batch[0][0].numpy().tobytes()).hexdigest())
        return take_step(network, optimizer, batch, share)

    def broken_at(count: int) -> Callable[..., float]:
        """Return a step that is interrupted once so many were taken."""

        def step(*arguments: Any) -> float:
            if len(taken) >= count:
                raise KeyboardInterrupt
            return noted(*arguments)

        return step

    monkeypatch.setattr(detector, "take_step", noted)

    def run(steps: int, name: str) -> dict[str, torch.Tensor]:
        chosen = argparse.Namespace(seed=1, steps=steps, composers=0, checkpoint=tmp_path / name)
        state: dict[str, torch.Tensor] = detector.train(library, library, chosen).state_dict()
        return state

    whole = run(3, "whole.pt")
    scenes_of_whole, taken[:] = list(taken), []
    # A run of fewer steps would have other rates: the third step is lost instead.
    state = torch.load(tmp_path / "whole.pt", weights_only=True)
    assert state["step"] == 3
    monkeypatch.setattr(detector, "take_step", broken_at(2))
    with pytest.raises(KeyboardInterrupt):
        run(3, "broken.pt")
    monkeypatch.setattr(detector, "take_step", broken_at(9))
    resumed = run(3, "broken.pt")
    assert taken == [*scenes_of_whole[:2], scenes_of_whole[2]]
    for name, values in whole.items():
        torch.testing.assert_close(resumed[name], values, rtol=1e-3, atol=1e-4)
