"""What a worker's model is loaded with: the settings, each in its place."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from catalog.rows.models import ModelRow
from config import settings
from config.settings import Settings
from vision import options, pipeline
from vision.options import VisionOptions
from vision.pipeline import Pipeline
from workers.support import model
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


class Network:
    """A detector and an embedder, as far as a model that describes nothing needs them."""

    dimensions = 8

    def __init__(self, fingerprint: str) -> None:
        self.fingerprint = fingerprint


def test_a_worker_serves_every_model_of_its_networks_and_tells_which_is_chosen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    adopted: list[Any] = []
    network: Any = Network("network")
    catalogue = SimpleNamespace(models=SimpleNamespace(adopt=lambda *rows: adopted.extend(rows)))
    monkeypatch.setattr(model, "catalog", lambda: catalogue)
    monkeypatch.setattr(model, "settings", lambda: Settings(boxes_indexed=2))
    monkeypatch.setattr(
        model, "load_from", lambda chosen: Pipeline(network, network, 0.0, chosen.boxes_indexed)
    )
    model._pipelines.cache_clear()
    try:
        chosen = model.pipeline()
        base = chosen.model_id.removesuffix("-w2")
        assert len(base) == 16
        others = [base, f"{base}-w1", f"{base}-w3"]
        assert [model.pipeline(one).parts for one in (*others, chosen.model_id)] == [1, 2, 4, 3]
        row = ModelRow(chosen.model_id, 8, parts=3)
        assert adopted == [row, None, dict.fromkeys(others, row)]
        with pytest.raises(model.ModelNotLoadedError):
            model.pipeline("another")
    finally:
        model._pipelines.cache_clear()
