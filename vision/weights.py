"""Weights of a network: finding, reading, loading and hashing them.

Detectors and embedders load their networks by this module. The hash is a part of the model id that
is stored with each vector: if it changes, the catalogue counts as made with another model, and the
vision and search workers stop.
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

#: A counter of training steps in batch norms, which evaluation does not read, and which
#: torchvision's frozen layers do not have.
_TRAINING_COUNTER = "num_batches_tracked"


def content_hash(network: nn.Module) -> str:
    """Return a hash of the weights of `network`, 16 hex digits.

    It covers names, shapes, types and values of its state by SHA-256, so it is the same whether
    the weights came from a file or from torchvision.
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
    """Return the state_dict in the file `path`, without running code in the file.

    Raises ValueError if the file can't be read, or contains anything else.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # torch raises many classes, such as KeyError, for bytes of another format.
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"cannot read the weights file {path}: {reason}") from error
    if not isinstance(state, Mapping) or not all(
        isinstance(name, str) and isinstance(values, torch.Tensor) for name, values in state.items()
    ):
        raise ValueError(f"the weights file {path} holds no state_dict (names to tensors)")
    return dict(state)


def read_safetensors(path: str) -> dict[str, torch.Tensor]:
    """Return the tensors in a safetensors file as float32; raises ValueError if unreadable."""
    try:
        return {name: values.float() for name, values in load_file(path).items()}
    except (OSError, SafetensorError) as error:
        raise ValueError(f"cannot read the weights file {path}: {error}") from error


def fill(network: nn.Module, state: Mapping[str, torch.Tensor], path: str) -> None:
    """Load `state`, which was read from `path`, into `network`.

    Raises ValueError if names or shapes differ.
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

    `registry` is the module of the models, such as `torchvision.models.detection`. `weights` is
    the name of registered weights ("DEFAULT" is one), which come from torchvision's cache or are
    downloaded; or the path of a complete state_dict, for which the transforms of the default
    weights are returned. `building` has arguments for the model's builder, if weights come from
    a file. Raises ValueError for an unknown name or a file that does not fit.
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
        # torchvision sets this for all registered weights of these models, and the transforms of
        # the default weights depend on it.
        model.transform_input = True
    fill(model, state, path)
    return model


def _class_count(
    model: nn.Module, state: Mapping[str, torch.Tensor], default_classes: int, path: str
) -> int:
    """Return for how many classes the weights in a file were trained.

    The first dimension of the layers that depend on it is a multiple of it (classes, classes x 4
    or classes x anchors). So the ratio between a layer in the file and the same layer of a model
    with the default number gives it. Raises ValueError if the layers disagree.
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
