"""Which model a process loads, and how it runs it."""

from __future__ import annotations

from dataclasses import dataclass

#: The name of the weights that come with a network's package, or with this project.
DEFAULT_WEIGHTS = "DEFAULT"

PRODUCT_DETECTOR = "product-detector"
PRODUCT_EMBEDDER = "product-embedder"
ACTIVATION_MAP = "activation-map"
EFFICIENTNET_LITE0 = "efficientnet-lite0"

#: The engines that run a network.
ONNXRUNTIME = "onnxruntime"
TORCH = "torch"


@dataclass(frozen=True)
class VisionOptions:
    """The model to load, and how to run it."""

    #: "product-detector", "activation-map", or a model of torchvision's detection registry.
    detector: str = PRODUCT_DETECTOR
    #: DEFAULT_WEIGHTS, another registered name, or the path of a weights file.
    detector_weights: str = DEFAULT_WEIGHTS
    #: "product-embedder", "efficientnet-lite0", or a classification model of torchvision's
    #: registry.
    embedder: str = PRODUCT_EMBEDDER
    #: DEFAULT_WEIGHTS, another registered name, or the path of a weights file.
    embedder_weights: str = DEFAULT_WEIGHTS
    #: A device of torch, such as "cpu" or "cuda:0".
    device: str = "cpu"
    #: Threads of the engine in this process; 0 for its default, one a core.
    threads: int = 0
    #: The engine of the default networks on a CPU: ONNXRUNTIME or TORCH.
    engine: str = ONNXRUNTIME
    #: The margin added at each edge of a box, as a share of its side.
    box_margin: float = 0.0
    #: The best boxes of a picture that have a feature beside the whole picture, 3 at most; 0: the
    #: best box alone.
    boxes_indexed: int = 0
    #: For the activation map: the least strength of a cell of an object, 0 to 1.
    activation_threshold: float = 0.35
    #: For torchvision's detectors: boxes with a lower score are left out, 0 to 1.
    score_threshold: float = 0.5

    @property
    def is_exported(self) -> bool:
        """Whether both parts are those whose networks stand in ONNX format beside their weights."""
        return (
            (self.detector, self.embedder) == (PRODUCT_DETECTOR, PRODUCT_EMBEDDER)
            and self.detector_weights == self.embedder_weights == DEFAULT_WEIGHTS
            and (self.device, self.engine) == ("cpu", ONNXRUNTIME)
        )
