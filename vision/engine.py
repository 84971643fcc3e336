"""The engines that run a network: ONNX Runtime on a CPU, or torch.

A network is a torch module from one batch of pictures to one or more tensors. A process that runs
the default networks with ONNX Runtime does not come here: see `vision.onnx_network`.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from vision.onnx_network import INPUT, ArrayRun, LoadedNetwork, run_in_onnxruntime
from vision.options import ONNXRUNTIME, TORCH

#: Takes a batch, and returns the outputs of the network.
Run = Callable[[torch.Tensor], tuple[torch.Tensor, ...]]


def compiled(network: nn.Module, example: torch.Tensor, engine: str) -> Run:
    """Return a function that runs `network`, in evaluation mode, on batches such as `example`.

    `example` has shape (n, channels, height, width), float32, on the network's device; later
    batches may have another size, height and width. The function returns the outputs of the
    network in its order, on the same device. `engine` is "onnxruntime" or "torch" and applies to
    the CPU only; other devices always use torch. ONNX Runtime takes torch's number of threads and
    the weights at the time of this call.

    The engines differ by rounding: some 1e-5 for values up to 6, and a cosine above 0.999999
    between their outputs for the same batch.

    Raises ValueError, with one line, for an unknown engine or one that is not installed.
    """
    if engine not in (ONNXRUNTIME, TORCH):
        raise ValueError(f"unknown engine {engine!r}: {ONNXRUNTIME} or {TORCH}")
    if engine == ONNXRUNTIME and example.device.type == "cpu":
        return _in_onnxruntime(network, example)
    return _in_torch(network)


def loaded(
    network: nn.Module, weights_hash: str, side: int, device: str, engine: str
) -> LoadedNetwork:
    """Return a network for pictures of `side` pixels, ready to run by `engine` on `device`.

    Raises ValueError as `compiled` does.
    """
    blank = torch.zeros(1, 3, side, side, device=device)
    run = compiled(network.to(device), blank, engine)
    return LoadedNetwork(_on_arrays(run, device), weights_hash)


def _on_arrays(run: Run, device: str) -> ArrayRun:
    """Return `run` as a function of arrays; batches go to `device`, outputs are float32."""

    def run_arrays(pixels: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        outputs = run(torch.from_numpy(pixels).to(device))
        return tuple(output.float().cpu().numpy() for output in outputs)

    return run_arrays


def _in_torch(network: nn.Module) -> Run:
    def run(batch: torch.Tensor) -> tuple[torch.Tensor, ...]:
        with torch.inference_mode():
            outputs = network(batch)
        return outputs if isinstance(outputs, tuple) else (outputs,)

    return run


def _in_onnxruntime(network: nn.Module, example: torch.Tensor) -> Run:
    run = run_in_onnxruntime(onnx_content(network, example), torch.get_num_threads())
    return lambda batch: tuple(map(torch.from_numpy, run(batch.numpy())))


def onnx_content(network: nn.Module, example: torch.Tensor) -> bytes:
    """Return `network` in ONNX format, for any size of batch and picture.

    Raises ValueError, with one line, if the package onnx is not installed.
    """
    try:
        import onnx  # noqa: F401  # torch's exporter imports it in the middle of its work
    except ImportError as error:
        raise ValueError(
            f"engine {ONNXRUNTIME!r} needs the package onnx: {error};"
            f" install it, or choose the engine {TORCH!r}"
        ) from error
    content = io.BytesIO()
    with torch.no_grad(), warnings.catch_warnings():
        # torch warns that this exporter is deprecated. The new one takes five seconds for a network
        # at every start of a worker, this one half a second; the results run equally fast.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (example,),
            content,  # type: ignore[arg-type]  # this exporter writes to memory as well
            dynamo=False,
            input_names=[INPUT],
            dynamic_axes={INPUT: {0: "pictures", 2: "height", 3: "width"}},
        )
    return content.getvalue()
