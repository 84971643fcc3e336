from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from config.settings import Settings
from tests.unit.tools.benchmarks.retrieval.scripted import described, no_inliers, picture
from tools.benchmarks import sets
from tools.benchmarks.packages import PackageUnavailable, debian_package
from tools.benchmarks.retrieval import __main__ as retrieval
from tools.benchmarks.retrieval import assembly
from tools.benchmarks.retrieval.designs import RANKED
from tools.benchmarks.retrieval.pictures import Search, SearchSet, half_of
from tools.benchmarks.retrieval.ranking import Ranking
from vision.similarity import Weights

MODEL = SimpleNamespace(model_id="made", dimensions=2)


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
    monkeypatch.setattr(retrieval, "load_from", lambda _: MODEL)
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


def test_a_discount_is_chosen_by_one_half_alone() -> None:
    every = [f"kind {number}" for number in range(100)]
    # Fewer of the half to choose by, so that all together would choose otherwise.
    names = [name for name in every if half_of(name)] + [n for n in every if not half_of(n)][:9]
    # Its box is like the second image, the whole like the first: which of them is right?
    query = described([[0, 1]], whole=[0.8, 0.6])
    gallery = [described([[1, 0]]), described([[0, 1]])]
    searches = tuple(Search(picture(name), 0 if half_of(name) == 0 else 1, name) for name in names)
    queries = [query] * len(names)
    made = SearchSet("made", (picture("a"), picture("b")), searches)
    ranking = Ranking(made, queries, gallery, no_inliers)
    candidates = [replace(RANKED, weights=Weights(taken, 0, 0)) for taken in (0.0, 0.1, 0.3)]
    assert retrieval.best(candidates, [ranking]) == candidates[2]


def test_without_a_folder_of_photographs_a_line_says_what_is_left_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("backgrounds", "held_out_lines"):
        monkeypatch.setattr(sets, name, lambda _: [])
    monkeypatch.setattr(sets, "stamps", lambda _: ([], []))
    monkeypatch.setattr(sets, "emoji", lambda _: ([], [], []))
    told: list[str] = []
    choice = assembly.Choice(("grocery",), tmp_path, None, crowd=0, objects=0, seed=1)
    assert assembly.assembled(choice, told.append) == []
    assert told == ["no set grocery: --pictures names no folder"]
