"""The committed weights are those that their cards speak of."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tools.training.card import detector_figures, embedder_figures
from vision.detectors import product as product_detector
from vision.embedders import product as product_embedder


def card_of(weights: Path) -> Any:
    return json.loads(weights.with_suffix(".json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("weights", [product_detector.WEIGHTS_FILE, product_embedder.WEIGHTS_FILE])
def test_the_committed_weights_are_those_of_the_card(weights: Path) -> None:
    card = card_of(weights)
    content = weights.read_bytes()
    assert hashlib.sha256(content).hexdigest() == card["sha256"]
    assert len(content) == card["bytes"] < 12_000_000
    state = load_file(weights)
    assert sum(values.numel() for values in state.values()) == card["parameters"]
    assert {values.dtype for values in state.values()} == {torch.float16}


def test_the_committed_detector_finds_what_the_card_says() -> None:
    found = detector_figures("DEFAULT")
    figures = card_of(product_detector.WEIGHTS_FILE)["figures_on_samples"]
    assert found == pytest.approx(figures, abs=0.03)
    assert found["on_white_first_box"] >= 0.9
    assert found["on_clouds_best_of_three"] >= 0.9


def test_the_committed_embedder_finds_what_the_card_says() -> None:
    found = embedder_figures("DEFAULT")
    figures = card_of(product_embedder.WEIGHTS_FILE)["figures_on_samples"]
    assert found == pytest.approx(figures, abs=0.03)
    assert found["recall_at_1"] >= 0.9
