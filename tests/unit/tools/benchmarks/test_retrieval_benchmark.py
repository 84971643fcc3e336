from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from config.settings import Settings
from tools.benchmarks import retrieval, sets
from tools.benchmarks.composition import Scene
from tools.benchmarks.evaluation import Described, query_rows, several_rows
from tools.benchmarks.packages import PackageUnavailable, debian_package
from vision.box import Box

SCENE = Scene(Image.new("RGB", (100, 100)), (Box(0, 0, 40, 40), Box(60, 60, 100, 100)))


def described(features: list[list[float]], *boxes: Box) -> Described:
    found = np.array(features, np.float32)
    return Described(
        {"detector": list(boxes)}, {"detector": found, "whole picture": 0 * found[:1]}, 1, 1
    )


def cells(line: str) -> list[str]:
    return line.removeprefix("detector").split()


def test_the_whole_picture_counts_where_all_that_is_searched_does() -> None:
    found = described([[0, 1]], Box(60, 60, 100, 100))
    found.features["whole picture"][:] = [1, 0]
    gallery = {"detector": np.array([[0.9, 0.1], [0.0, 0.8]], dtype=np.float32)}
    (line,) = query_rows([SCENE], [found], gallery)
    assert cells(line)[5:7] == ["0.000", "1.000"]


def test_a_second_box_counts_only_in_the_columns_of_three() -> None:
    found = described([[0, 1], [1, 0]], Box(60, 60, 100, 100), Box(0, 0, 40, 40))
    gallery = {"detector": np.array([[0.9, 0.1], [0.0, 0.8]], dtype=np.float32)}
    (line,) = query_rows([SCENE], [found], gallery)
    assert cells(line)[:7] == ["1", "0.000", "0.000", "1.000", "0.000", "0.000", "1.000"]


def test_what_is_left_out_for_a_query_does_not_count_against_it() -> None:
    found = described([[1, 0]], Box(0, 0, 40, 40))
    gallery = {"detector": np.array([[0.9, 0.1], [1.0, 0.0], [0.8, 0.0]], dtype=np.float32)}
    recalls = [
        cells(query_rows([SCENE], [found], gallery, np.array([left_out]))[0])[5:7]
        for left_out in ([False, False, False], [False, False, True], [False, True, False])
    ]
    assert recalls == [["0.000", "0.000"], ["0.000", "0.000"], ["1.000", "1.000"]]


def test_a_distractor_stands_on_the_ground_that_is_told(tmp_path: Path) -> None:
    def source(name: str, mode: str, colour: tuple[int, ...]) -> sets.Source:
        Image.new(mode, (300, 300), colour).save(tmp_path / name)
        return sets.Source("made", name, tmp_path / name)

    places = [source("red.png", "RGB", (255, 0, 0)), source("blue.png", "RGB", (0, 0, 255))]
    thing = source("thing.png", "RGBA", (0, 255, 0, 255))
    told = []
    for number, scene in enumerate(sets.distractors(24, [thing], places, 1)):
        ground = sets.distractor_ground(number, places, 1)
        red, _, blue = np.asarray(scene.picture).reshape(-1, 3).mean(0)
        if number % 2:
            assert ground is not None
            assert (red > blue) == (ground.name == "red.png")
            told.append(ground.name)
        else:
            assert ground is None
    assert set(told) == {"red.png", "blue.png"}


def test_each_of_several_objects_is_judged_by_its_own_box() -> None:
    gallery = {"detector": np.eye(2, dtype=np.float32)}
    right = described([[0, 1], [1, 0]], SCENE.boxes[1], SCENE.boxes[0])
    swapped = described([[1, 0], [0, 1]], SCENE.boxes[1], SCENE.boxes[0])
    missing = described([[1, 0]], SCENE.boxes[0])
    recalls = [
        cells(several_rows([SCENE], [one], [[0, 1]], gallery)[0])[5]
        for one in (right, swapped, missing)
    ]
    assert recalls == ["1.000", "0.000", "0.500"]


def test_variants_of_an_emoji_and_the_demos_objects_are_held_out_together() -> None:
    groups = [f"1f{number:03x}" for number in range(0x300, 0x600)]
    assert all(
        sets.is_held_out(group, frozenset()) == sets.is_held_out(f"{group}-1f3fb", frozenset())
        for group in groups
    )
    held = sum(sets.is_held_out(group, frozenset()) for group in groups)
    assert 0.25 < held / len(groups) < 0.42
    free = next(group for group in groups if not sets.is_held_out(group, frozenset()))
    assert sets.is_held_out(free, frozenset({free}))


def test_a_package_that_cannot_be_fetched_ends_with_69_and_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["retrieval", "--cache", str(tmp_path / "cache")])
    monkeypatch.setattr(retrieval, "load_from", lambda _: None)
    assert retrieval.main() == 69
    error = capsys.readouterr().err
    assert error.startswith("the sets can't be made: apt-get download mate-backgrounds")
    assert error.count("\n") == 1


def test_a_fetch_that_failed_leaves_no_folder_that_looks_whole(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PackageUnavailable):
        debian_package("mate-backgrounds", tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_the_model_is_the_workers_own_on_one_thread(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def refuse(chosen: Settings) -> None:
        asked.append(chosen)
        raise ValueError("no such embedder")

    monkeypatch.setenv("SNAPSKU_EMBEDDER", "a-new-one")
    monkeypatch.setenv("SNAPSKU_TORCH_THREADS", "4")
    monkeypatch.setattr(sys, "argv", ["retrieval", "--cache", str(tmp_path)])
    monkeypatch.setattr(retrieval, "load_from", refuse)
    assert retrieval.main() == 78
    assert capsys.readouterr().err == "no such embedder\n"
    assert [(one.embedder, one.torch_threads) for one in asked] == [("a-new-one", 1)]
