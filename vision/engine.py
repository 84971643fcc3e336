"""What runs a network: ONNX Runtime on a processor, or torch itself.

A network is a torch module from one batch of pictures to one or more tensors. What
the numbers mean is its callers' business; boxes and features are unknown here.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable

import torch
from torch import nn

ONNXRUNTIME = "onnxruntime"
TORCH = "torch"

#: One batch in, the network's outputs.
Run = Callable[[torch.Tensor], tuple[torch.Tensor, ...]]

_INPUT = "pixels"


def compiled(network: nn.Module, example: torch.Tensor, engine: str) -> Run:
    """Return what runs `network`, which is in evaluation mode, on batches such as `example`.

    `example` has shape (n, channels, height, width), float32, and lies on the network's
    device; later batches may have other numbers but of channels. Each is answered with
    the network's outputs, in its order, on the same device. `engine` is "onnxruntime" or
    "torch". It decides on a processor alone: any other device runs torch. ONNX Runtime
    takes as many threads as torch has now, and the weights as they are now.

    The engines differ by rounding: some 1e-5 where the values go up to 6, a cosine of
    more than 0.999999 between what they give for the same batch.

    Raises ValueError with one line for an unknown engine, or one that is not installed.
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
    # Neither may be loaded where this engine is not used; the export needs onnx.
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
    # A thread that waits would otherwise turn round and round, and keep what it waits for from
    # the processor: on a busy machine two threads took twice as long as without, or as one.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(
        _exported(network, example), options, providers=["CPUExecutionProvider"]
    )

    def run(batch: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(map(torch.from_numpy, session.run(None, {_INPUT: batch.numpy()})))

    return run


def _exported(network: nn.Module, example: torch.Tensor) -> bytes:
    """Return `network` in the ONNX format, for any size of batch and picture."""
    content = io.BytesIO()
    with torch.no_grad(), warnings.catch_warnings():
        # torch warns of this exporter's age. Its successor needs five seconds for a network, this
        # one half a second, at every start of a worker; the results run equally fast.
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
