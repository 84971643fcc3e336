"""What a worker's model is loaded with: the settings, each in its place."""

from __future__ import annotations

from typing import Any

import pytest

from config import settings
from config.settings import Settings
from vision import options, pipeline
from vision.options import VisionOptions
from workers.support.model import load_from


def test_the_model_is_loaded_as_the_settings_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    seen: list[VisionOptions] = []
    monkeypatch.setattr(pipeline, "load_pipeline", seen.append)
    chosen: dict[str, Any] = {
        "detector": "a",
        "detector_weights": "b",
        "embedder": "c",
        "embedder_weights": "d",
        "device": "e",
        "engine": "torch",
        "boxes_indexed": 2,
    }
    load_from(Settings(torch_threads=7, **chosen))
    assert seen == [VisionOptions(threads=7, **chosen)]


def test_the_settings_name_the_default_weights_as_the_networks_do() -> None:
    assert settings.DEFAULT_WEIGHTS == options.DEFAULT_WEIGHTS
