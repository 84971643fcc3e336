"""Trains the default embedder on pictures of objects, and writes its weights.

    python -m tools.training.embedder --output vision/trained/product-embedder.safetensors

The network learns similar features for the pictures of one object, and different ones for other
objects, for the same object with another surface, and for backgrounds. The output of the first
blocks, which are not trained, is stored in a folder. A run that ended early is resumed from there
and from its last checkpoint. Seeded.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from rich.progress import Progress, track
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from tools.training import checkpoint
from tools.training.card import embedder_figures, write_card
from tools.training.sources import Library, load
from tools.training.views import crops, dressed, ground
from vision.embedders.product import DIMENSIONS, INPUT_SIDE, crop_pixels
from vision.embedders.product_network import FeatureNetwork
from vision.engine import compiled
from vision.options import ONNXRUNTIME

#: Rounds of pictures; a round has four of each object.
ROUNDS = 2
#: Pieces of backgrounds in a round.
GROUNDS = 1200
#: In a batch: objects, each plain and dressed; pictures of each of these; pieces of backgrounds.
BATCH_OBJECTS, BATCH_VIEWS, BATCH_GROUNDS = 28, 3, 24
#: The peak learning rates of the pre-trained layers, and of the map.
TRAINED_RATE, MAP_RATE = 1e-4, 3e-4
WARM_UP_STEPS = 30
WEIGHT_DECAY = 0.01
GRADIENT_NORM = 5.0
#: The temperature of the contrastive loss, by which similarities are divided.
TEMPERATURE = 0.07
#: The decay of the exponential moving average of the weights, for each step.
AVERAGE_DECAY = 0.99
CHECKPOINT_STEPS = 50
#: The share of the identity in the covariance within objects; 1 would ignore the data.
SHRINKAGE = 0.5
#: The first label of backgrounds; each piece has a label of its own.
FIRST_GROUND = 100_000

Maps = NDArray[np.float16]
Labels = NDArray[np.int64]
Features = NDArray[np.float32]


class Views:
    """The output of the first blocks for all pictures, and the label of each picture."""

    def __init__(self, library: Library, network: FeatureNetwork, seed: int, folder: Path) -> None:
        """Load the rounds that are in `folder`; make and store the others."""
        folder.mkdir(parents=True, exist_ok=True)
        self._maps: list[Maps] = []
        labels: list[Labels] = []
        for number in range(seed, seed + ROUNDS):
            path = folder / f"round-{number}.npz"
            if not path.exists():
                partial = path.with_suffix(".part")
                with partial.open("wb") as file:
                    np.savez(file, **_round(library, network, number))
                partial.replace(path)
            with np.load(path, allow_pickle=False) as saved:
                self._maps.append(saved["maps"])
                shown = saved["labels"]
            labels.append(np.where(shown < FIRST_GROUND, shown, shown + FIRST_GROUND * number))
        self.labels = np.concatenate(labels)
        self._starts = np.cumsum([0, *map(len, self._maps)])
        self._of_object: dict[int, list[int]] = defaultdict(list)
        for place, label in enumerate(self.labels.tolist()):
            self._of_object[label].append(place)
        self._grounds = [place[0] for one, place in self._of_object.items() if one >= FIRST_GROUND]
        self._pairs = sorted({one // 2 for one in self._of_object if one < FIRST_GROUND})

    def maps(self, places: list[int]) -> torch.Tensor:
        """Return the maps of some pictures, shape (n, 112, side / 16, side / 16), float32."""
        rounds = np.searchsorted(self._starts, places, side="right") - 1
        rows = [
            self._maps[which][place - self._starts[which]]
            for which, place in zip(rounds, places, strict=True)
        ]
        maps = torch.from_numpy(np.stack(rows).astype(np.float32))
        return maps.contiguous(memory_format=torch.channels_last)

    def objects_of_first_round(self) -> list[int]:
        """Return the positions of the first round's pictures of objects."""
        return np.flatnonzero(self.labels[: self._starts[1]] < FIRST_GROUND).tolist()

    def batch(self, rng: random.Random) -> list[int]:
        """Return the positions of a random batch: objects, plain and dressed, and backgrounds."""
        places = []
        for pair in rng.sample(self._pairs, min(BATCH_OBJECTS, len(self._pairs))):
            for one in (2 * pair, 2 * pair + 1):
                own = self._of_object[one]
                places += rng.sample(own, min(BATCH_VIEWS, len(own)))
        return places + rng.sample(self._grounds, min(BATCH_GROUNDS, len(self._grounds)))


def _round(library: Library, network: FeatureNetwork, number: int) -> dict[str, Any]:
    blank = torch.zeros(1, 3, INPUT_SIDE, INPUT_SIDE)
    run = compiled(network.early.eval(), blank, ONNXRUNTIME)
    maps, labels = [], []
    for label, crop in _pictures(library, number):
        maps.append(run(torch.from_numpy(crop_pixels(crop)))[0][0].half().numpy())
        labels.append(label)
    return {"maps": np.stack(maps), "labels": np.array(labels)}


def _pictures(library: Library, number: int) -> Iterator[tuple[int, Image.Image]]:
    """Yield the label and the picture of everything in a round.

    Each cut-out is two objects: plain, and dressed in the same way in all rounds. Of a group of
    variants only the first is used.
    """
    for place, group in enumerate(track(library.cutouts, f"pictures, round {number}")):
        rng = random.Random(f"{number} {place}")
        other = dressed(group[0], library, random.Random(f"d {place}"))
        for turn, figure in enumerate((group[0], other)):
            for crop in crops(figure, library, rng):
                yield 2 * place + turn, crop
    rng = random.Random(f"{number} ground")
    for place in range(GROUNDS):
        yield FIRST_GROUND + place, ground(library, rng)


def discriminant_map(
    features: Features, objects: Labels, shrinkage: float, dimensions: int
) -> Features:
    """Return the discriminant map, shape (numbers, dimensions), of features of norm 1.

    Features are whitened by the covariance within objects, mixed with a `shrinkage` share of a
    multiple of the identity; the principal directions of the result are kept, uncentred. This is
    linear discriminant analysis with the regularisation of Friedman, "Regularized discriminant
    analysis" (1989), equation 18.
    """
    _, places, counts = np.unique(objects, return_inverse=True, return_counts=True)
    values = features.astype(np.float64)
    means = np.zeros((len(counts), values.shape[1]))
    np.add.at(means, places, values)
    means /= counts[:, None]
    apart = values - means[places]
    within = apart.T @ apart / (len(values) - len(counts))
    size = len(within)
    identity = np.eye(size) * np.trace(within) / size
    strengths, directions = np.linalg.eigh((1 - shrinkage) * within + shrinkage * identity)
    whitening = (directions / np.sqrt(strengths)) @ directions.T
    white = values @ whitening
    _, principal = np.linalg.eigh(white.T @ white / len(white))
    found = whitening @ principal[:, ::-1][:, :dimensions]
    # The sign of an eigenvector is arbitrary, and so is the scale of the map.
    found *= np.sign(found[np.abs(found).argmax(0), np.arange(dimensions)])
    shorter: Features = (found / np.abs(found).max()).astype(np.float32)
    return shorter


def contrast(features: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the supervised contrastive loss of features of norm 1, shape (n, numbers).

    Khosla and others, "Supervised contrastive learning" (2020), equation 2. Pictures whose label
    no other picture has are only negatives.
    """
    own = torch.eye(len(labels), dtype=torch.bool)
    same = (labels[:, None] == labels[None]) & ~own
    similarities = features @ features.T / TEMPERATURE
    others = similarities.masked_fill(own, -torch.inf)
    likelihoods = similarities - torch.logsumexp(others, 1, keepdim=True)
    asked = same.any(1)
    return -((likelihoods * same).sum(1)[asked] / same.sum(1)[asked]).mean()


def untrained() -> FeatureNetwork:
    """Return the network with the packaged weights of EfficientNet-Lite0, ready to train."""
    network = FeatureNetwork(checkpoint.packaged_network())
    network.early.requires_grad_(False)
    return network.to(memory_format=torch.channels_last)


def begin_with_discriminants(network: FeatureNetwork, views: Views) -> None:
    """Initialise the map by `discriminant_map` of the first round's objects."""
    places = views.objects_of_first_round()
    with torch.inference_mode():
        pooled = [network.pooled(views.maps(places[n : n + 32])) for n in range(0, len(places), 32)]
    features = torch.cat(pooled).numpy()
    found = discriminant_map(features, views.labels[places], SHRINKAGE, DIMENSIONS)
    lengths = np.linalg.norm(features @ found, axis=1)
    with torch.no_grad():
        network.projection.weight.copy_(torch.from_numpy(found.T / lengths.mean()))


def optimizer_of(network: FeatureNetwork) -> torch.optim.Optimizer:
    """Return AdamW with one group of pre-trained layers and one of the map."""
    groups = [
        {"params": list(network.late.parameters()), "peak": TRAINED_RATE},
        {"params": list(network.projection.parameters()), "peak": MAP_RATE},
    ]
    return torch.optim.AdamW(groups, lr=TRAINED_RATE, weight_decay=WEIGHT_DECAY)


def take_step(
    network: FeatureNetwork,
    optimizer: torch.optim.Optimizer,
    maps: torch.Tensor,
    labels: torch.Tensor,
    share: float,
) -> float:
    """Train on one batch at a share of the peak rate, and return the loss."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * share
    loss = contrast(network.feature(maps), labels)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    trained = [*network.late.parameters(), *network.projection.parameters()]
    nn.utils.clip_grad_norm_(trained, GRADIENT_NORM)
    optimizer.step()
    return float(loss.detach())


def train(library: Library, chosen: argparse.Namespace) -> FeatureNetwork:
    """Train from the last checkpoint or from the start, and return the averaged network.

    Raises ArithmeticError if the loss is not finite.
    """
    torch.manual_seed(chosen.seed)
    network = untrained()
    views = Views(library, network, chosen.seed, chosen.views)
    averaging = get_ema_multi_avg_fn(AVERAGE_DECAY)  # type: ignore[no-untyped-call]
    average = AveragedModel(network, multi_avg_fn=averaging)
    optimizer = optimizer_of(network)
    start = checkpoint.restore(chosen.checkpoint, network, average, optimizer)
    if not start:
        begin_with_discriminants(network, views)
    smooth = 0.0
    with Progress() as progress:
        bar = progress.add_task("training", total=chosen.steps, completed=start)
        for step in range(start, chosen.steps):
            places = views.batch(random.Random(f"{chosen.seed} {step}"))
            labels = torch.from_numpy(views.labels[places])
            share = _rate_share(step, chosen.steps)
            loss = take_step(network, optimizer, views.maps(places), labels, share)
            if not math.isfinite(loss):
                raise ArithmeticError(f"the loss of step {step} is {loss}")
            average.update_parameters(network)
            smooth = loss if step == start else 0.95 * smooth + 0.05 * loss
            progress.update(bar, advance=1, description=f"loss {smooth:.3f}")
            done = step + 1
            if done % CHECKPOINT_STEPS == 0 or done == chosen.steps:
                progress.print(f"step {done}: loss {smooth:.3f}")
                checkpoint.save(chosen.checkpoint, network, average, optimizer, done)
    network.load_state_dict(average.module.state_dict())
    return network


def _rate_share(step: int, steps: int) -> float:
    """Return the share of the peak rate at a step: half a cosine to 0, after a short warm-up."""
    return min((step + 1) / WARM_UP_STEPS, 0.5 * (1 + math.cos(math.pi * step / steps)))


def main() -> int:
    """Train with the arguments of the command line, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.training.embedder")
    parser.add_argument("--steps", type=int, default=300, help="of a batch each")
    parser.add_argument("--seed", type=int, default=1, help="another one gives other pictures")
    parser.add_argument("--threads", type=int, default=2, help="of torch")
    parser.add_argument("--cache", type=Path, default=Path("benchmark-cache"), help="a folder")
    parser.add_argument("--views", type=Path, default=Path("embedder-views"), help="a folder")
    parser.add_argument("--checkpoint", type=Path, default=Path("embedder-checkpoint.pt"))
    parser.add_argument("--output", type=Path, default=Path("product-embedder.safetensors"))
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    library, _ = load(chosen.cache)
    checkpoint.write_weights(train(library, chosen), chosen.output)
    how = {"seed": chosen.seed, "steps": chosen.steps, "rounds": ROUNDS}
    write_card(
        chosen.output,
        "vision/embedders/product_network.py",
        how | {"torch": torch.__version__, "by": "tools/training/embedder.py"},
        embedder_figures(str(chosen.output)),
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
