"""Trains the default detector on composed scenes, and writes its weights.

    python -m tools.training.detector --output vision/trained/product-detector.safetensors

Seeded: each scene depends only on the seed and its number. A run that ended early is resumed from
its last checkpoint. Two cores and some hours are enough.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich.progress import Progress
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, Dataset
from torchvision.models.detection import FCOS
from torchvision.ops import box_iou

from tools.training import checkpoint
from tools.training.card import detector_figures, write_card
from tools.training.composer import compose
from tools.training.sources import Library, load
from vision.detectors.product import INPUT_SIDE
from vision.detectors.product_network import product_network

BATCH = 16
#: The peak learning rates of the new layers, and of the pre-trained ones.
NEW_RATE, TRAINED_RATE = 1.5e-3, 3e-4
WARM_UP_STEPS = 150
WEIGHT_DECAY = 0.02
GRADIENT_NORM = 5.0
#: The decay of the exponential moving average of the weights, for each step.
AVERAGE_DECAY = 0.998
CHECKPOINT_STEPS = 100
VALIDATION_STEPS = 500
VALIDATION_SCENES = range(300)

Sample = tuple[torch.Tensor, dict[str, torch.Tensor]]


class Scenes(Dataset[Sample]):
    """Scenes by number, as inputs of the network."""

    def __init__(self, library: Library, words: str) -> None:
        """Take the library, and `words` that seed the scenes together with their numbers."""
        self._library = library
        self._words = words

    def __getitem__(self, number: int) -> Sample:
        """Return pixels, shape (3, side, side), 0 to 1, and boxes in the pixels of the square."""
        scene = compose(self._library, random.Random(f"{self._words} {number}"))
        across, down = (INPUT_SIDE / side for side in scene.picture.size)
        boxes = torch.tensor(
            [
                (box.left * across, box.top * down, box.right * across, box.bottom * down)
                for box in scene.boxes
            ],
            dtype=torch.float32,
        ).reshape(-1, 4)
        square = scene.picture.resize((INPUT_SIDE, INPUT_SIDE), Image.Resampling.BILINEAR)
        pixels = torch.from_numpy(np.array(square)).permute(2, 0, 1).float() / 255
        return pixels, {"boxes": boxes, "labels": torch.zeros(len(boxes), dtype=torch.int64)}


def untrained() -> FCOS:
    """Return the network with the packaged weights of EfficientNet-Lite0, ready to train."""
    network = product_network(checkpoint.packaged_network())
    network.backbone.early.requires_grad_(False)
    return network.to(memory_format=torch.channels_last)


def optimizer_of(network: FCOS) -> torch.optim.Optimizer:
    """Return AdamW with one group of new layers and one of pre-trained layers."""
    trained = [*network.backbone.middle.parameters(), *network.backbone.late.parameters()]
    known = {id(one) for one in trained}
    new = [one for one in network.parameters() if one.requires_grad and id(one) not in known]
    groups = [{"params": new, "peak": NEW_RATE}, {"params": trained, "peak": TRAINED_RATE}]
    return torch.optim.AdamW(groups, lr=NEW_RATE, weight_decay=WEIGHT_DECAY)


def rate_share(step: int, steps: int) -> float:
    """Return the share of the peak rate at a step: a linear warm-up, then half a cosine to 0."""
    if step < WARM_UP_STEPS:
        return (step + 1) / WARM_UP_STEPS
    done = (step - WARM_UP_STEPS) / max(steps - WARM_UP_STEPS, 1)
    return 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


def take_step(
    network: FCOS, optimizer: torch.optim.Optimizer, batch: Sequence[Sample], share: float
) -> float:
    """Train on one batch at a share of the peak rate, and return the loss."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * share
    pixels, targets = zip(*batch, strict=True)
    losses = network(list(pixels), list(targets))
    loss = sum(losses.values())
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(
        [one for group in optimizer.param_groups for one in group["params"]], GRADIENT_NORM
    )
    optimizer.step()
    return float(loss.detach())


def found(network: FCOS, samples: Iterator[Sample]) -> tuple[float, float]:
    """Return how often the first box, and the best of three, has an IoU of at least 0.5.

    Only samples with one object count.
    """
    network.eval()
    first = of_three = count = 0
    with torch.inference_mode():
        for pixels, target in samples:
            if len(target["boxes"]) != 1:
                continue
            count += 1
            boxes = network([pixels])[0]["boxes"][:3]
            overlaps = box_iou(boxes, target["boxes"]).flatten().tolist()
            first += bool(overlaps) and overlaps[0] >= 0.5
            of_three += bool(overlaps) and max(overlaps) >= 0.5
    return first / count, of_three / count


def train(library: Library, validation: Library, chosen: argparse.Namespace) -> FCOS:
    """Train from the last checkpoint or from the start, and return the averaged network.

    Raises ArithmeticError if the loss is not finite.
    """
    torch.manual_seed(chosen.seed)
    network = untrained()
    averaging = get_ema_multi_avg_fn(AVERAGE_DECAY)  # type: ignore[no-untyped-call]
    average = AveragedModel(network, multi_avg_fn=averaging)
    optimizer = optimizer_of(network)
    start = checkpoint.restore(chosen.checkpoint, network, average, optimizer)
    loader = DataLoader(
        Scenes(library, f"{chosen.seed}"),
        batch_size=BATCH,
        sampler=range(start * BATCH, chosen.steps * BATCH),
        num_workers=chosen.composers,
        collate_fn=list,
    )
    checks = Scenes(validation, "validation")
    smooth = 0.0
    with Progress() as progress:
        bar = progress.add_task("training", total=chosen.steps, completed=start)
        for step, batch in enumerate(loader, start=start):
            network.train()
            loss = take_step(network, optimizer, batch, rate_share(step, chosen.steps))
            if not math.isfinite(loss):
                raise ArithmeticError(f"the loss of step {step} is {loss}")
            average.update_parameters(network)
            smooth = loss if step == start else 0.98 * smooth + 0.02 * loss
            progress.update(bar, advance=1, description=f"loss {smooth:.3f}")
            done = step + 1
            if done % VALIDATION_STEPS == 0 or done == chosen.steps:
                first, of_three = found(average.module, map(checks.__getitem__, VALIDATION_SCENES))
                progress.print(
                    f"step {done}: loss {smooth:.3f},"
                    f" IoU of 0.5 on validation: first box {first:.3f}, of three {of_three:.3f}"
                )
            if done % CHECKPOINT_STEPS == 0 or done == chosen.steps:
                checkpoint.save(chosen.checkpoint, network, average, optimizer, done)
    return average.module


def main() -> int:
    """Train with the arguments of the command line, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.training.detector")
    parser.add_argument("--steps", type=int, default=3600, help=f"of {BATCH} scenes each")
    parser.add_argument("--seed", type=int, default=1, help="another one gives other scenes")
    parser.add_argument("--threads", type=int, default=2, help="of torch")
    parser.add_argument("--composers", type=int, default=1, help="processes that make scenes")
    parser.add_argument("--cache", type=Path, default=Path("benchmark-cache"), help="a folder")
    parser.add_argument("--checkpoint", type=Path, default=Path("detector-checkpoint.pt"))
    parser.add_argument("--output", type=Path, default=Path("product-detector.safetensors"))
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    library, validation = load(chosen.cache)
    network = train(library, validation, chosen)
    checkpoint.write_weights(network, chosen.output)
    how = {"seed": chosen.seed, "steps": chosen.steps, "scenes": chosen.steps * BATCH}
    write_card(
        chosen.output,
        "vision/detectors/product_network.py",
        how | {"torch": torch.__version__, "by": "tools/training/detector.py"},
        detector_figures(str(chosen.output)),
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
