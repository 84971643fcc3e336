"""The map to fewer numbers: what it keeps, the committed file, and how it is found."""

from __future__ import annotations

import hashlib
import json
import random

import numpy as np
import pytest
from PIL import Image, ImageDraw
from safetensors.numpy import save_file

from benchmarks.measures import intersection_over_union
from vision.box import Box
from vision.projection import COMMITTED_FILE, ProjectedEmbedder, Projection
from vision.training import projection as training
from vision.training.sources import Library


class StubEmbedder:
    dimensions = 4
    fingerprint = "stub"

    def embed(self, images):
        small = [image.convert("L").resize((4, 1)) for image in images]
        return np.stack([np.asarray(one, dtype=np.float32).ravel() for one in small])


def file_of(path, matrix, name="projection"):
    save_file({name: np.asarray(matrix, dtype=np.float16)}, path)
    return path


def figure(colour: str) -> Image.Image:
    picture = Image.new("RGBA", (80, 60))
    ImageDraw.Draw(picture).ellipse((5, 5, 70, 50), fill=colour)
    return picture


@pytest.fixture
def library():
    noise = [Image.effect_noise((300, 260), 60).convert("RGB") for _ in range(2)]
    return Library(((figure("red"),), (figure("navy"),)), (noise[0],), (noise[1],))


def test_the_committed_map_is_the_one_that_its_card_describes():
    card = json.loads(COMMITTED_FILE.with_suffix(".json").read_text(encoding="utf-8"))
    content = COMMITTED_FILE.read_bytes()
    assert hashlib.sha256(content).hexdigest() == card["sha256"]
    assert len(content) == card["bytes"]
    assert tuple(card["shape"]) == Projection().sizes == (1280, training.DIMENSIONS)
    assert card["training"]["shrinkage"] == training.SHRINKAGE


def test_the_committed_map_finds_what_the_card_says_and_loses_nothing():
    card = json.loads(COMMITTED_FILE.with_suffix(".json").read_text(encoding="utf-8"))
    found = training.figures(Projection())
    assert found == pytest.approx(card["figures_on_samples"], abs=0.03)
    assert found["recall_at_1"] >= found["recall_at_1_of_all_numbers"] - 0.02


def test_the_committed_map_keeps_all_its_directions_apart():
    mapped = Projection().apply(np.eye(1280, dtype=np.float32))
    assert np.linalg.matrix_rank(mapped) == 256


def test_mapped_features_have_length_one_and_zeros_and_nan_stay(tmp_path):
    projection = Projection(file_of(tmp_path / "map", [[3, 0], [0, 4], [0, 0]]))
    given = np.array([[1, 1, 9], [0, 0, 0], [np.nan, 0, 0]], dtype=np.float32)
    first, second, third = projection.apply(given)
    assert first.dtype == np.float32
    assert first == pytest.approx([0.6, 0.8])
    assert second.tolist() == [0, 0]
    assert np.isnan(third).any()
    assert projection.apply(given[:0]).shape == (0, 2)


def test_a_feature_is_mapped_the_same_alone_and_among_others():
    given = np.random.default_rng(1).random((9, 1280), dtype=np.float32)
    mapped = Projection().apply(given)
    assert np.array_equal(Projection().apply(given[4:5])[0], mapped[4])


def test_the_fingerprint_changes_with_the_map_and_with_the_embedder(tmp_path):
    one, same, other = (
        Projection(file_of(tmp_path / name, matrix))
        for name, matrix in [("a", np.eye(4)), ("b", np.eye(4)), ("c", np.eye(4) * 2)]
    )
    embedder, renamed = StubEmbedder(), StubEmbedder()
    renamed.fingerprint = "renamed"
    prints = [
        ProjectedEmbedder(parts[0], parts[1]).fingerprint
        for parts in [(embedder, one), (embedder, same), (embedder, other), (renamed, one)]
    ]
    assert prints[0] == prints[1]
    assert len(set(prints)) == 3


def test_a_map_for_features_of_another_length_is_refused(tmp_path):
    with pytest.raises(ValueError, match="takes 5 numbers, the embedder gives 4"):
        ProjectedEmbedder(StubEmbedder(), Projection(file_of(tmp_path / "map", np.ones((5, 2)))))


def test_a_file_that_holds_no_map_is_refused_in_one_line(tmp_path):
    (tmp_path / "text").write_text("hello")
    file_of(tmp_path / "vector", np.ones(3))
    file_of(tmp_path / "named", np.eye(3), "other")
    for name in ("text", "vector", "named", "missing"):
        with pytest.raises(ValueError, match="weights file") as caught:
            Projection(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_the_map_plays_down_what_changes_within_an_object():
    chance = np.random.default_rng(2)
    objects = np.repeat(np.arange(40), 10)
    # The first number changes from picture to picture, the other two from object to object.
    features = np.concatenate(
        [chance.normal(0, 3, (400, 1)), np.repeat(chance.normal(0, 1, (40, 2)), 10, axis=0)], axis=1
    )
    features += chance.normal(0, 0.01, features.shape)
    found = training.discriminant_map(features.astype(np.float32), objects, 0.01, 2)
    assert found.shape == (3, 2)
    assert np.abs(found[0]).max() < 0.1 * np.abs(found[1:]).max()
    blind = training.discriminant_map(features.astype(np.float32), objects, 1.0, 2)
    assert np.abs(blind[0]).max() > 0.9


def test_boxes_of_training_are_as_rough_as_a_detectors():
    truth, size = Box(10, 20, 110, 90), (120, 100)
    boxes = [training.detected(truth, size, random.Random(seed)) for seed in range(50)]
    overlaps = [intersection_over_union(box, truth) for box in boxes]
    assert 0.7 <= min(overlaps) < max(overlaps)
    assert all(box.left >= 0 and box.right <= 120 for box in boxes)


def test_each_object_is_seen_in_several_pictures_and_the_seed_decides_them(library):
    features, objects = training.seen_objects(library, StubEmbedder(), 1)
    again, _ = training.seen_objects(library, StubEmbedder(), 1)
    other, _ = training.seen_objects(library, StubEmbedder(), 2)
    assert np.unique(objects, return_counts=True)[1].tolist() == [4, 4, 4, 4]
    assert np.array_equal(features, again)
    assert not np.array_equal(features, other)


def test_a_dressed_object_keeps_its_outline_and_looks_different(library):
    plain = figure("red")
    for seed in range(8):
        changed = training.dressed(plain, library, random.Random(seed))
        outline = changed.getchannel("A")
        mirrored = outline.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        assert plain.getchannel("A").tobytes() in (outline.tobytes(), mirrored.tobytes())
        assert changed.convert("RGB").tobytes() != plain.convert("RGB").tobytes()
