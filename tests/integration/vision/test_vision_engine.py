"""The engines that run a network: their answers agree, and each keeps to its place."""

from __future__ import annotations

import sys

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision.models.detection.fcos import FCOSHead

from vision.backbone import EfficientNetLite0
from vision.engine import Run, compiled
from vision.options import ONNXRUNTIME, TORCH


class TwoLevels(nn.Module):
    """A detector's dense part in small: two levels, one made from the other, and FCOS's head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 3, stride=4, padding=1)
        self.coarse = nn.Conv2d(32, 32, 3, stride=2, padding=1)
        self.head = FCOSHead(32, 1, 1, num_convs=1)

    def forward(self, batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        fine = self.stem(batch)
        coarse = self.coarse(fine)
        fine = fine + nn.functional.interpolate(coarse, size=fine.shape[-2:])
        found = self.head([fine, coarse])
        return found["cls_logits"], found["bbox_regression"], found["bbox_ctrness"]


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(1)
    return TwoLevels().eval()


@pytest.fixture(scope="module")
def noise() -> torch.Tensor:
    return torch.rand(3, 3, 96, 64, generator=torch.Generator().manual_seed(2))


@pytest.fixture(scope="module")
def run(network: nn.Module) -> Run:
    return compiled(network, torch.zeros(1, 3, 32, 32), ONNXRUNTIME)


def cosine(one: torch.Tensor, other: torch.Tensor) -> float:
    return float(nn.functional.cosine_similarity(one.flatten(), other.flatten(), dim=0))


def test_all_outputs_agree_in_their_order_for_any_size_of_batch_and_picture(
    network: nn.Module, run: Run, noise: torch.Tensor
) -> None:
    for batch in (noise, noise[:1], noise[:2, :, :64]):
        expected = compiled(network, batch, TORCH)(batch)
        outputs = run(batch)
        assert [one.shape for one in outputs] == [one.shape for one in expected]
        assert len({one.shape for one in outputs}) == 2
        for one, other in zip(outputs, expected, strict=True):
            assert one.dtype == torch.float32
            torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_a_batch_gives_what_its_pictures_give_alone(run: Run, noise: torch.Tensor) -> None:
    whole = run(noise)
    for index in range(3):
        for one, other in zip(run(noise[index : index + 1]), whole, strict=True):
            torch.testing.assert_close(one[0], other[index], atol=1e-5, rtol=1e-4)


def test_a_batch_may_lie_in_memory_in_another_order(run: Run, noise: torch.Tensor) -> None:
    turned = noise.to(memory_format=torch.channels_last)
    for one, other in zip(run(turned), run(noise), strict=True):
        assert torch.equal(one, other)


def test_an_output_stays_as_it_was_when_the_next_one_comes(run: Run, noise: torch.Tensor) -> None:
    first = run(noise)[0]
    kept = first.clone()
    run(1 - noise)
    assert torch.equal(first, kept)


@pytest.mark.parametrize("side", [64, 224, 320])
def test_the_feature_maps_of_efficientnet_lite0_agree(side: int) -> None:
    pixels = np.random.default_rng(4).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    picture = Image.fromarray(pixels)
    plain, fast = (EfficientNetLite0(engine=engine) for engine in (TORCH, ONNXRUNTIME))
    one, other = plain.feature_map(picture, side), fast.feature_map(picture, side)
    assert one.shape == other.shape == (1280, side // 32, side // 32)
    assert cosine(one, other) > 0.999999
    assert plain.fingerprint == fast.fingerprint


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_an_engine_that_is_not_installed_is_refused_in_one_line(
    network: nn.Module, noise: torch.Tensor, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ValueError, match=rf"needs the package {package}:.*'torch'") as caught:
        compiled(network, noise, ONNXRUNTIME)
    assert "\n" not in str(caught.value)
    assert len(compiled(network, noise, TORCH)(noise)) == 3


def test_an_unknown_engine_is_refused_with_the_choices(
    network: nn.Module, noise: torch.Tensor
) -> None:
    with pytest.raises(ValueError, match="'steam': onnxruntime or torch"):
        compiled(network, noise, "steam")


def test_another_device_than_a_processor_runs_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    elsewhere = torch.empty(1, 3, 32, 32, device="meta")
    (output,) = compiled(nn.Conv2d(3, 4, 1).to("meta"), elsewhere, ONNXRUNTIME)(elsewhere)
    assert output.device.type == "meta"


def test_threads_are_as_many_as_torchs_and_sleep_while_they_wait(
    network: nn.Module, noise: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    class Session:
        def __init__(
            self, _model: bytes, options: onnxruntime.SessionOptions, providers: list[str]
        ) -> None:
            seen.append((options, providers))

    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    compiled(network, noise, ONNXRUNTIME)
    [(options, providers)] = seen
    assert options.intra_op_num_threads == 3
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    assert providers == ["CPUExecutionProvider"]
