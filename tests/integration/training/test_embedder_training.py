"""Training of the default embedder: pictures, the first map, steps, and what comes of it."""

from __future__ import annotations

import argparse
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from torch import nn

from tools.benchmarks.measures import intersection_over_union
from tools.training import checkpoint, embedder, views
from tools.training.sources import Library
from vision.box import Box


def figure(colour: str) -> Image.Image:
    picture = Image.new("RGBA", (80, 60))
    ImageDraw.Draw(picture).ellipse((5, 5, 70, 50), fill=colour)
    return picture


@pytest.fixture(scope="module")
def library() -> Library:
    noise = [Image.effect_noise((700, 600), 60).convert("RGB") for _ in range(2)]
    colours = ("red", "navy", "gold")
    return Library(tuple((figure(one),) for one in colours), (noise[0],), (noise[1],))


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedder, "GROUNDS", 3)
    monkeypatch.setattr(embedder, "CHECKPOINT_STEPS", 1)


def test_the_first_map_plays_down_what_changes_within_an_object() -> None:
    chance = np.random.default_rng(2)
    objects = np.repeat(np.arange(40), 10)
    # The first number changes from picture to picture, the other two from object to object.
    features = np.concatenate(
        [chance.normal(0, 3, (400, 1)), np.repeat(chance.normal(0, 1, (40, 2)), 10, axis=0)], axis=1
    )
    features += chance.normal(0, 0.01, features.shape)
    found = embedder.discriminant_map(features.astype(np.float32), objects, 0.01, 2)
    assert found.shape == (3, 2)
    assert np.abs(found[0]).max() < 0.1 * np.abs(found[1:]).max()
    blind = embedder.discriminant_map(features.astype(np.float32), objects, 1.0, 2)
    assert np.abs(blind[0]).max() > 0.9


def test_boxes_of_training_are_as_rough_as_a_detectors() -> None:
    truth, size = Box(10, 20, 110, 90), (120, 100)
    boxes = [views.detected(truth, size, random.Random(seed)) for seed in range(50)]
    overlaps = [intersection_over_union(box, truth) for box in boxes]
    assert 0.7 <= min(overlaps) < max(overlaps)
    assert all(box.left >= 0 and box.right <= 120 for box in boxes)


def test_a_dressed_object_keeps_its_outline_and_looks_different(library: Library) -> None:
    plain = figure("red")
    for seed in range(8):
        changed = views.dressed(plain, library, random.Random(seed))
        outline = changed.getchannel("A")
        mirrored = outline.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        assert plain.getchannel("A").tobytes() in (outline.tobytes(), mirrored.tobytes())
        assert changed.convert("RGB").tobytes() != plain.convert("RGB").tobytes()


def test_each_object_is_seen_in_several_pictures_and_each_ground_is_its_own(
    library: Library, few: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = embedder.Views(library, embedder.untrained(), 1, tmp_path)
    labels, counts = np.unique(seen.labels, return_counts=True)
    objects = labels < embedder.FIRST_GROUND
    assert labels[objects].tolist() == [0, 1, 2, 3, 4, 5]
    assert set(counts[objects]) == {4 * embedder.ROUNDS}
    assert counts[~objects].tolist() == [1] * 3 * embedder.ROUNDS
    monkeypatch.setattr(embedder, "_round", None)
    again = embedder.Views(library, embedder.untrained(), 1, tmp_path)
    places = seen.batch(random.Random(1))
    assert places == again.batch(random.Random(1))
    assert torch.equal(seen.maps(places), again.maps(places))


def test_pictures_of_one_object_that_are_alike_cost_less_than_those_that_are_not() -> None:
    labels = torch.tensor([0, 0, 1, 1, 2])
    right = torch.eye(3)[labels]
    wrong = torch.eye(3)[torch.tensor([0, 1, 0, 1, 2])]
    assert embedder.contrast(right, labels) < 0.01 < 5 < embedder.contrast(wrong, labels)
    # The ground, label 2, is not asked for, and is a wrong answer where it is like an object.
    near = torch.eye(3)[torch.tensor([0, 0, 1, 1, 1])]
    assert embedder.contrast(near, labels) > 0.1


def test_a_few_steps_make_the_loss_fall_and_the_first_blocks_keep_their_weights(
    library: Library, few: None, tmp_path: Path
) -> None:
    torch.manual_seed(1)
    network = embedder.untrained()
    seen = embedder.Views(library, network, 1, tmp_path)
    embedder.begin_with_discriminants(network, seen)
    before = {name: one.clone() for name, one in network.early.state_dict().items()}
    optimizer = embedder.optimizer_of(network)
    places = seen.batch(random.Random(1))
    labels = torch.from_numpy(seen.labels[places])
    maps = seen.maps(places)
    losses = [embedder.take_step(network, optimizer, maps, labels, 1.0) for _ in range(6)]
    assert losses[-1] < 0.8 * losses[0], losses
    after = network.early.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_run_that_ended_early_goes_on_from_its_checkpoint(
    library: Library, few: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(name: str) -> dict[str, torch.Tensor]:
        chosen = argparse.Namespace(
            seed=1, steps=3, views=tmp_path / "views", checkpoint=tmp_path / name
        )
        return embedder.train(library, chosen).state_dict()

    whole = run("whole.pt")
    save = checkpoint.save

    def stop_after_two(
        path: Path, network: nn.Module, average: Any, optimizer: torch.optim.Optimizer, step: int
    ) -> None:
        save(path, network, average, optimizer, step)
        if step == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "save", stop_after_two)
    with pytest.raises(KeyboardInterrupt):
        run("broken.pt")
    monkeypatch.setattr(checkpoint, "save", save)
    resumed = run("broken.pt")
    for name, values in whole.items():
        torch.testing.assert_close(resumed[name], values, rtol=1e-3, atol=1e-4)
