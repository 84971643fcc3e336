"""The engines that run a network: ONNX Runtime on a CPU, or torch.

A network is a torch module from one batch of pictures to one or more tensors.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable

import torch
from torch import nn

ONNXRUNTIME = "onnxruntime"
TORCH = "torch"

#: Takes a batch, and returns the outputs of the network.
Run = Callable[[torch.Tensor], tuple[torch.Tensor, ...]]

_INPUT = "pixels"


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


def _in_torch(network: nn.Module) -> Run:
    def run(batch: torch.Tensor) -> tuple[torch.Tensor, ...]:
        with torch.inference_mode():
            outputs = network(batch)
        return outputs if isinstance(outputs, tuple) else (outputs,)

    return run


def _in_onnxruntime(network: nn.Module, example: torch.Tensor) -> Run:
    # Imported here, since other engines do not need them; the export needs onnx.
    try:
        import onnx  # noqa: F401
        import onnxruntime
    except ImportError as error:
        raise ValueError(
            f"engine {ONNXRUNTIME!r} needs the packages onnxruntime and onnx: {error};"
            f" install them, or choose the engine {TORCH!r}"
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    # Otherwise waiting threads spin and take CPU time from the one that they wait for: on a busy
    # machine two spinning threads took twice as long as two without, or as one.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(
        _exported(network, example), options, providers=["CPUExecutionProvider"]
    )

    def run(batch: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(map(torch.from_numpy, session.run(None, {_INPUT: batch.numpy()})))

    return run


def _exported(network: nn.Module, example: torch.Tensor) -> bytes:
    """Return `network` in ONNX format, for any size of batch and picture."""
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
            input_names=[_INPUT],
            dynamic_axes={_INPUT: {0: "pictures", 2: "height", 3: "width"}},
        )
    return content.getvalue()
