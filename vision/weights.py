"""Weights of a network: finding, reading, filling in and fingerprinting them.

The module knows files and torchvision's registry; what a network is for is its
callers' business.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import torchvision
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

#: Names the weights that come with a network's package, or with this project.
DEFAULT_WEIGHTS = "DEFAULT"

#: A counter of training steps in batch normalisation; evaluation never reads it,
#: and torchvision's frozen layers do not have it.
_TRAINING_COUNTER = "num_batches_tracked"


def content_hash(network: nn.Module) -> str:
    """Return 16 hex digits that change when a weight of `network` does.

    SHA-256 over the names, shapes, types and values of its state, so that it is
    the same whether the weights came from a file or from torchvision.
    """
    digest = hashlib.sha256()
    state = network.state_dict()
    for name in sorted(state):
        if name.endswith(_TRAINING_COUNTER):
            continue
        values = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tuple(values.shape)} {values.dtype}\n".encode())
        digest.update(values.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()[:16]


def read_state(path: str) -> dict[str, torch.Tensor]:
    """Read the state_dict in the file `path`, which never runs code of the file.

    Raises ValueError where the file is not there, or holds anything else.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # Bytes that are no such file make the reader fail in any way, KeyError among them.
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"cannot read the weights file {path}: {reason}") from error
    if not isinstance(state, Mapping) or not all(
        isinstance(name, str) and isinstance(values, torch.Tensor) for name, values in state.items()
    ):
        raise ValueError(f"the weights file {path} holds no state_dict (names to tensors)")
    return dict(state)


def read_safetensors(path: str) -> dict[str, torch.Tensor]:
    """Read the safetensors file `path` as float32. Raises ValueError where it can't be read."""
    try:
        return {name: values.float() for name, values in load_file(path).items()}
    except (OSError, SafetensorError) as error:
        raise ValueError(f"cannot read the weights file {path}: {error}") from error


def fill(network: nn.Module, state: Mapping[str, torch.Tensor], path: str) -> None:
    """Put `state` (read from `path`) into `network`, whole and with nothing left over.

    Raises ValueError where names or shapes differ.
    """
    try:
        result = network.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise ValueError(f"the weights file {path} is of another network (shapes)") from error
    differing = [
        name
        for name in [*result.missing_keys, *result.unexpected_keys]
        if not name.endswith(_TRAINING_COUNTER)
    ]
    if differing:
        raise ValueError(
            f"the weights file {path} is of another network:"
            f" {len(differing)} names differ, the first is {differing[0]}"
        )


def load_torchvision(
    name: str, weights: str, registry: ModuleType, **building: Any
) -> tuple[nn.Module, Callable[[Any], Any]]:
    """Return a model of torchvision's registry in evaluation mode, and its transforms.

    `registry` is the module whose models may be named, such as
    `torchvision.models.detection`. `weights` is the name of registered weights
    ("DEFAULT" is one; they come from torchvision's cache, or are downloaded), or
    the path of a file with the model's whole state_dict; then the transforms are
    those of the model's default weights. `building` goes to the model's builder
    where it starts empty. Raises ValueError for an unknown name or a file that
    does not fit.
    """
    if name not in torchvision.models.list_models(module=registry):
        raise ValueError(
            f"unknown model {name!r}: torchvision.models.list_models"
            f"(module={registry.__name__}) gives the choices"
        )
    registered = torchvision.models.get_model_weights(name)
    if weights in registered.__members__:
        chosen = registered[weights]
        model = torchvision.models.get_model(name, weights=chosen)
        return model.eval(), chosen.transforms()
    if not Path(weights).is_file():
        raise ValueError(
            f"unknown weights {weights!r} of {name}: neither a file nor one of"
            f" {', '.join(registered.__members__)}"
        )
    return _from_file(name, weights, registered.DEFAULT, building).eval(), (
        registered.DEFAULT.transforms()
    )


def _from_file(name: str, path: str, default: Any, building: dict[str, Any]) -> Any:
    state = read_state(path)
    model: Any = torchvision.models.get_model(name, weights=None, **building)
    default_classes = len(default.meta["categories"])
    classes = _class_count(model, state, default_classes, path)
    if classes != default_classes:
        model = torchvision.models.get_model(name, weights=None, num_classes=classes, **building)
    if hasattr(model, "transform_input"):
        # torchvision sets this for every registered weight of these models, and the
        # default weights' transforms count on it.
        model.transform_input = True
    fill(model, state, path)
    return model


def _class_count(
    model: nn.Module, state: Mapping[str, torch.Tensor], default_classes: int, path: str
) -> int:
    """Tell for how many classes the file was trained.

    The layers that depend on that number are a multiple of it in their first
    dimension (classes, classes x 4 or classes x anchors). So the ratio between the
    file's layer and the same layer of a model with the default number gives it.
    """
    counts = {
        default_classes * state[name].shape[0] / values.shape[0]
        for name, values in model.state_dict().items()
        if name in state and values.ndim and state[name].shape != values.shape and state[name].ndim
    }
    if not counts:
        return default_classes
    count = counts.pop()
    if counts or not count.is_integer() or count < 1:
        raise ValueError(f"the weights file {path} is of another network (shapes)")
    return int(count)
