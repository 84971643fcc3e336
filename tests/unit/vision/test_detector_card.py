"""The committed weights of the default detector are those that their card speaks of."""

from __future__ import annotations

import hashlib
import json

import pytest
import torch
from safetensors.torch import load_file

from vision.product_detector import WEIGHTS_FILE
from vision.training.card import detector_figures


def test_the_committed_weights_are_those_of_the_card():
    card = json.loads(WEIGHTS_FILE.with_suffix(".json").read_text())
    content = WEIGHTS_FILE.read_bytes()
    assert hashlib.sha256(content).hexdigest() == card["sha256"]
    assert len(content) == card["bytes"] < 12_000_000
    state = load_file(WEIGHTS_FILE)
    assert sum(values.numel() for values in state.values()) == card["parameters"]
    assert {values.dtype for values in state.values()} == {torch.float16}


def test_the_committed_weights_find_what_the_card_says():
    card = json.loads(WEIGHTS_FILE.with_suffix(".json").read_text())
    found = detector_figures("DEFAULT")
    assert found == pytest.approx(card["figures_on_samples"], abs=0.03)
    assert found["on_white_first_box"] >= 0.9
    assert found["on_clouds_best_of_three"] >= 0.9
